//! Mails over lines that nobody else can read, or not at all.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cqm_notifications::{App, TlsMode};
use cqm_proto::notifications::v1::Channel;
use cqm_proto::notifications::v1::message::State;
use cqm_rpc::Clock;
use cqm_runtime::process;
use cqm_testkit::{Authority, Door, Identity, Session, SmtpSink, TestDatabase, Tls, settings};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::desk::*;

/// Under which the service reaches the sink.
const HOST: &str = "127.0.0.1";
static CREDENTIALS: LazyLock<String> = LazyLock::new(|| STANDARD.encode("\0cqm\0hunter2"));

/// A desk that sends with credentials; `trusted` alone may vouch for the mail server.
async fn desk(sink: SmtpSink, tls: TlsMode, trusted: Option<&str>) -> Desk {
    let folder = TempDir::new().unwrap();
    let file = trusted.map(|pem| {
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        file
    });
    // The folder goes at the end: what was read at the start stays in use.
    let mut desk = Desk::open_with(sink, |config| {
        let smtp = config.smtp.as_mut().unwrap();
        smtp.tls = tls;
        smtp.ca_certificates = file;
        smtp.username = Some("cqm".to_owned());
        smtp.password = Some("hunter2".to_owned().into());
    })
    .await;
    desk.put(jane()).await;
    desk
}

/// What came over a connection: whether it was encrypted, and the command with as much as matters of the rest.
fn heard(session: &Session) -> Vec<(bool, &str)> {
    session
        .heard
        .iter()
        .map(|heard| match heard.line.split_once(' ') {
            Some(("AUTH", _)) => (heard.encrypted, heard.line.as_str()),
            Some((verb, _)) => (heard.encrypted, verb),
            None => (heard.encrypted, heard.line.as_str()),
        })
        .collect()
}

/// Sends a mail and returns the reason why it did not go out. The connection it was tried on is over.
async fn fails(desk: &mut Desk) -> String {
    let message = desk.send_on(Channel::Email, JANE).await;
    let way = until("the first attempt ends", async || {
        Some(desk.way(&message.name).await).filter(|way| way.len() >= 5)
    })
    .await;
    assert_eq!(way[4], "RETRY");
    // Whatever it would have said it has said by then.
    let sessions = desk.sink.wait_for_end(1).await;
    assert_eq!(sessions.len(), 1);
    assert!(desk.sink.mails().is_empty());
    way[3].strip_prefix("1 TRANSIENT_FAILURE: ").unwrap().to_owned()
}

#[tokio::test]
async fn a_mail_goes_out_over_starttls_and_nothing_but_greetings_before_it() {
    let authority = Authority::new();
    let tls = Tls::Starttls(authority.vouch_for(HOST));
    let sink = SmtpSink::start_with_tls(tls, &*CREDENTIALS).await;
    let mut desk = desk(sink, TlsMode::Starttls, Some(&authority.pem())).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    let message = desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&message).await;
    assert_eq!(desk.way(&message.name).await[3], "1 ACCEPTED: smtp 250");
    let mails = desk.sink.mails();
    assert_eq!((mails.len(), mails[0].to.as_slice()), (1, &["jane.doe@example.com".to_owned()][..]));
    let sessions = desk.sink.sessions();
    assert_eq!(sessions.len(), 1);
    let auth = format!("AUTH PLAIN {}", *CREDENTIALS);
    let expected = [
        (false, "EHLO"),
        (false, "STARTTLS"),
        (true, "EHLO"),
        (true, auth.as_str()),
        (true, "MAIL"),
        (true, "RCPT"),
        (true, "DATA"),
    ];
    assert_eq!(heard(&sessions[0]), expected);
}

#[tokio::test]
async fn a_mail_goes_out_over_tls_from_the_first_byte() {
    let authority = Authority::new();
    let tls = Tls::Implicit(authority.vouch_for(HOST));
    let sink = SmtpSink::start_with_tls(tls, &*CREDENTIALS).await;
    // Among others in the file.
    let trusted = format!("{}{}", Authority::new().pem(), authority.pem());
    let mut desk = desk(sink, TlsMode::Tls, Some(&trusted)).await;
    let message = desk.send_on(Channel::Email, JANE).await;
    let message = desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&message).await;
    assert_eq!(desk.sink.mails().len(), 1);
    let sessions = desk.sink.sessions();
    assert_eq!(sessions.len(), 1);
    let auth = format!("AUTH PLAIN {}", *CREDENTIALS);
    let expected = [(true, "EHLO"), (true, auth.as_str()), (true, "MAIL"), (true, "RCPT"), (true, "DATA")];
    assert_eq!(heard(&sessions[0]), expected);
}

#[tokio::test]
async fn the_authority_of_a_mail_server_is_exchanged_without_a_restart() {
    let (first, second, folder) = (Authority::new(), Authority::new(), TempDir::new().unwrap());
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, first.pem()).unwrap();
    let sink = SmtpSink::start().await;
    let door = Door::to_server_by_tls(([127, 0, 0, 1], sink.port).into(), first.vouch_for(HOST)).await;
    let mut desk = Desk::open_with(sink, |config| {
        let smtp = config.smtp.as_mut().unwrap();
        (smtp.port, smtp.tls) = (Some(door.address().port()), TlsMode::Tls);
        smtp.ca_certificates = Some(file.clone());
    })
    .await;
    desk.put(jane()).await;
    let mut mails = async |count: usize| {
        let message = desk.send_on(Channel::Email, JANE).await;
        let message = desk.reaches(&message.name, State::Delivered).await;
        desk.delivered(&message).await;
        assert_eq!(desk.way(&message.name).await[3], "1 ACCEPTED: smtp 250");
        assert_eq!(desk.sink.mails().len(), count);
        desk.kit.clock.advance(Duration::from_secs(11));
    };
    mails(1).await;

    // Half of it: who was believed before is believed still.
    std::fs::write(&file, &second.pem()[..100]).unwrap();
    mails(2).await;

    std::fs::write(&file, second.pem()).unwrap();
    door.show(second.vouch_for(HOST));
    door.close();
    door.reopen();
    mails(3).await;
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_gets_neither_mail_nor_credentials() {
    let (authority, other) = (Authority::new(), Authority::new());
    let unknown = "tls: nobody who is trusted vouches for the certificate";
    let cases: [(Identity, Option<String>, &str); 4] = [
        // The system knows neither authority.
        (authority.vouch_for(HOST), None, unknown),
        (authority.vouch_for(HOST), Some(other.pem()), unknown),
        (
            authority.vouch_for("mail.example.com"),
            Some(authority.pem()),
            "tls: the certificate is another server's",
        ),
        (authority.vouched_for(HOST), Some(authority.pem()), "tls: the certificate has expired"),
    ];
    for (identity, trusted, reason) in cases {
        let sink = SmtpSink::start_with_tls(Tls::Implicit(identity.clone()), &*CREDENTIALS).await;
        let mut implicit = desk(sink, TlsMode::Tls, trusted.as_deref()).await;
        assert_eq!(fails(&mut implicit).await, reason);
        assert_eq!(implicit.sink.sessions()[0].heard, []);

        let sink = SmtpSink::start_with_tls(Tls::Starttls(identity), &*CREDENTIALS).await;
        let mut starttls = desk(sink, TlsMode::Starttls, trusted.as_deref()).await;
        assert_eq!(fails(&mut starttls).await, reason);
        assert_eq!(heard(&starttls.sink.sessions()[0]), [(false, "EHLO"), (false, "STARTTLS")]);
    }
}

#[tokio::test]
async fn a_server_without_the_demanded_encryption_gets_nothing() {
    let sink = SmtpSink::start_with_auth(&*CREDENTIALS).await;
    let mut starttls = desk(sink, TlsMode::Starttls, None).await;
    assert_eq!(fails(&mut starttls).await, "server lacks what the mail or the configuration needs");
    assert_eq!(heard(&starttls.sink.sessions()[0]), [(false, "EHLO")]);

    // Where TLS was to begin it speaks in clear; what it hears is the beginning of a handshake, which is no command.
    let sink = SmtpSink::start_with_auth(&*CREDENTIALS).await;
    let mut implicit = desk(sink, TlsMode::Tls, None).await;
    assert_eq!(fails(&mut implicit).await, "tls");
    let told = format!("{:?}", implicit.sink.sessions()[0].heard);
    assert!(!told.contains("AUTH") && !told.contains("MAIL") && !told.contains(&*CREDENTIALS), "{told}");
}

#[tokio::test]
async fn a_process_does_not_start_with_certificates_that_vouch_for_nobody() {
    let sink = SmtpSink::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "not a certificate").unwrap();
    let mut config = config(&sink);
    let smtp = config.smtp.as_mut().unwrap();
    smtp.tls = TlsMode::Starttls;
    smtp.ca_certificates = Some(file);
    let database = TestDatabase::migrated(cqm_notifications::MIGRATIONS).await;
    let settings = settings::<App>(&database, config);
    let started = process::start::<App>(settings, Clock::system(), CancellationToken::new()).await;
    let refused = started.unwrap_err().to_string();
    assert!(refused.contains("service.smtp.ca_certificates"), "{refused}");
}
