//! The language that the server's errors are in.

use cqm_rpc::BoxError;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use crate::pool::Conn;

#[derive(diesel::QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    lc_messages: String,
}

/// Has the server speak English on this connection, or refuses the connection.
///
/// diesel-async passes on no SQLSTATE but those of constraints and serialization failures; a lock timeout, a statement
/// timeout, a deadlock and a server that shuts down are told apart by their words (`cqm_rpc::Error`). Translated, all
/// of them would be INTERNAL, so this must not be found out by the first one. Only superusers and who was granted it
/// may set the parameter; to ask for it among the connection's options would end everybody else's connection.
pub(crate) async fn in_english(conn: &mut Conn) -> Result<(), BoxError> {
    let setting: Setting = diesel::sql_query(
        "SELECT CASE WHEN has_parameter_privilege('lc_messages', 'SET') THEN set_config('lc_messages', 'C', false)
                     ELSE current_setting('lc_messages') END AS lc_messages",
    )
    .get_result(conn)
    .await?;
    if is_english(&setting.lc_messages) {
        return Ok(());
    }
    Err(format!(
        "the server's messages are translated (lc_messages is '{}'), and errors are told apart by them; a \
         superuser helps with ALTER DATABASE … SET lc_messages = 'C', or GRANT SET ON PARAMETER lc_messages TO …",
        setting.lc_messages
    )
    .into())
}

/// The locale's language; the empty locale is whatever the server's environment said when it was started.
fn is_english(locale: &str) -> bool {
    locale.split(['_', '.', '@']).next().is_some_and(|language| ["C", "POSIX", "en"].contains(&language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locales_that_leave_messages_as_they_are_written_are_english() {
        for english in ["C", "POSIX", "C.UTF-8", "C.utf8", "en_US.UTF-8", "en_GB", "en_IE@euro"] {
            assert!(is_english(english), "{english}");
        }
        for other in ["", "zh_CN.UTF-8", "zh_CN", "de_DE@euro", "cs_CZ.UTF-8", "Chinese_China.936"] {
            assert!(!is_english(other), "{other}");
        }
    }
}
