//! A folder of mails, for development.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;
use lettre::message;

use super::Attempt;
use super::letter::{Letter, Unsendable};
use crate::domain::delivery::Outcome;

/// Who mails in the folder are from; they go nowhere.
const FROM: &str = "Customer Service <service@localhost>";

pub(crate) struct Mailbox {
    folder: PathBuf,
    from: message::Mailbox,
}

impl Mailbox {
    pub(super) fn open(folder: &Path) -> Result<Self, BoxError> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), from: FROM.parse()? })
    }

    pub(super) async fn send(&self, letter: &Letter, now: DateTime<Utc>) -> Attempt {
        let mail = match letter.build(&self.from, true, now) {
            Ok(mail) => mail,
            Err(Unsendable(why)) => return (Outcome::PermanentFailure, why.to_owned()),
        };
        match self.write(&file_name(letter), &mail.formatted()).await {
            Ok(()) => (Outcome::Accepted, "mailbox".to_owned()),
            Err(error) => (Outcome::TransientFailure, format!("mailbox: {}", error.kind())),
        }
    }

    /// Whole or not at all: who looks into the folder sees no half of a mail.
    async fn write(&self, name: &str, mail: &[u8]) -> std::io::Result<()> {
        let unfinished = self.folder.join(format!(".{name}"));
        tokio::fs::write(&unfinished, mail).await?;
        tokio::fs::rename(&unfinished, self.folder.join(name)).await
    }
}

/// When, what, and the message's id: sorted as things happened, and the same for every attempt, so that a repeat takes
/// the place of the first.
fn file_name(letter: &Letter) -> String {
    format!(
        "{}_{}_{}_{}.eml",
        letter.create_time.format("%Y%m%d-%H%M%S"),
        letter.template.as_str(),
        letter.text.locale,
        letter.message_id
    )
}
