//! Hands mails over: to a mail server, or into a folder.

mod letter;
mod mailbox;
mod smtp;
mod trust;

use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;

pub(crate) use letter::Letter;
pub(crate) use trust::Trust;

use crate::config::Config;
use crate::domain::delivery::Outcome;

/// How an attempt went; the detail holds codes, never an address.
pub(crate) type Attempt = (Outcome, String);

/// The one way out that was configured.
pub(crate) enum Mailer {
    Smtp(smtp::Smtp),
    Mailbox(mailbox::Mailbox),
}

impl Mailer {
    /// Connects nowhere yet: a mail server that is away delays mails, not the start.
    pub(crate) fn open(config: &Config, trust: &Trust) -> Result<Self, BoxError> {
        match (&config.smtp, &config.mailbox) {
            (Some(smtp), _) => Ok(Self::Smtp(smtp::Smtp::open(smtp, trust, config.concurrency)?)),
            (None, Some(folder)) => Ok(Self::Mailbox(mailbox::Mailbox::open(folder)?)),
            (None, None) => Err("the configuration names neither a mail server nor a mailbox".into()),
        }
    }

    /// Makes one attempt. Never fails otherwise than by its outcome, and ends within the configured time.
    pub(crate) async fn send(&self, letter: &Letter, now: DateTime<Utc>) -> Attempt {
        match self {
            Self::Smtp(smtp) => smtp.send(letter, now).await,
            Self::Mailbox(mailbox) => mailbox.send(letter, now).await,
        }
    }
}
