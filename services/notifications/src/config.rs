//! The service's own section of the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cqm_runtime::config::{ConfigError, Validate, positive};
use lettre::message::Mailbox;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::domain::delivery::Policy;

/// The defaults of the section; where mails go has none.
pub const DEFAULTS: &str = include_str!("config.toml");

/// Where mails go, and how patiently. Exactly one of `smtp` and `mailbox` must be given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The mail server.
    pub smtp: Option<SmtpConfig>,
    /// A folder in which mails are put as files, for development.
    pub mailbox: Option<PathBuf>,
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    pub concurrency: usize,
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    #[serde(with = "humantime_serde")]
    pub contact_patience: Duration,
    pub retry: RetryConfig,
    /// Wakes the delivery of this process. The runtimes of a process are made of clones of one configuration, which is
    /// how the handlers on each of them reach the one delivery.
    #[serde(skip)]
    pub wake: Arc<Notify>,
}

/// How often and how soon a mail is tried again.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    pub attempts: i32,
    #[serde(with = "humantime_serde")]
    pub first: Duration,
    #[serde(with = "humantime_serde")]
    pub longest: Duration,
}

/// How the mail server is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    pub host: String,
    /// Without it, the port that is usual for `tls`: 465, 587 or 25.
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: TlsMode,
    /// A file in PEM with the certificates of those who may vouch for the mail server, for one that a private authority
    /// vouches for: they alone are trusted then, and a self-signed certificate vouches for itself. What changes in it is
    /// in use within ten seconds. Without it, those that the system trusts.
    pub ca_certificates: Option<PathBuf>,
    /// With a password; without both, the server is not told who sends.
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// Who mails are from: `Customer Care <care@example.com>`. Its domain is that of the Message-IDs, too.
    pub from: String,
    /// For one mail, from the connection to the server's answer. Too high: a server that hangs holds up the mails
    /// behind. Too low: a slow server's mails are sent twice.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

/// How the connection to the mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// From the first byte.
    #[default]
    Tls,
    /// From the STARTTLS command on; a server that does not offer it is not used.
    Starttls,
    /// Not at all: for a server on the same machine or in a network that nobody else is in.
    None,
}

impl Config {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            patience: self.contact_patience,
            lease: self.lease,
            attempts: self.retry.attempts,
            first: self.retry.first,
            longest: self.retry.longest,
        }
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), ConfigError> {
        match (&self.smtp, &self.mailbox) {
            (Some(smtp), None) => smtp.validate(self.lease)?,
            (None, Some(_)) => {}
            (None, None) => {
                return Err(ConfigError::refused("service.smtp", "or service.mailbox must be given"));
            }
            (Some(_), Some(_)) => {
                return Err(ConfigError::refused("service.mailbox", "must not be given beside service.smtp"));
            }
        }
        positive("service.poll", self.poll)?;
        positive("service.lease", self.lease)?;
        positive("service.contact_patience", self.contact_patience)?;
        positive("service.retry.first", self.retry.first)?;
        if !(1..=1000).contains(&self.concurrency) {
            return Err(ConfigError::refused("service.concurrency", "must be 1 to 1000"));
        }
        if !(1..=100).contains(&self.retry.attempts) {
            return Err(ConfigError::refused("service.retry.attempts", "must be 1 to 100"));
        }
        if self.retry.longest < self.retry.first {
            return Err(ConfigError::refused(
                "service.retry.longest",
                "must not be shorter than service.retry.first",
            ));
        }
        Ok(())
    }
}

impl SmtpConfig {
    fn validate(&self, lease: Duration) -> Result<(), ConfigError> {
        if self.host.is_empty() {
            return Err(ConfigError::refused("service.smtp.host", "must be given"));
        }
        if self.from.parse::<Mailbox>().is_err() {
            return Err(ConfigError::refused(
                "service.smtp.from",
                "must be a mail address, with or without a name",
            ));
        }
        if self.username.is_some() != self.password.is_some() {
            return Err(ConfigError::refused(
                "service.smtp.password",
                "must be given with service.smtp.username",
            ));
        }
        if self.password.is_some() && self.tls == TlsMode::None && !self.is_local() {
            return Err(ConfigError::refused(
                "service.smtp.tls",
                "must not be none: the password would be readable",
            ));
        }
        if self.ca_certificates.is_some() && self.tls == TlsMode::None {
            return Err(ConfigError::refused(
                "service.smtp.ca_certificates",
                "must not be given where service.smtp.tls is none: no certificate is looked at",
            ));
        }
        positive("service.smtp.timeout", self.timeout)?;
        // The outcome must be written down before another process takes the attempt for lost.
        if lease < self.timeout * 2 {
            return Err(ConfigError::refused("service.lease", "must be at least twice service.smtp.timeout"));
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        self.host == "localhost"
            || self.host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(change: impl FnOnce(&mut Value)) -> Result<Config, String> {
        let mut json = json!({
            "smtp": {"host": "mail.example.com", "from": "Care <care@example.com>"},
            "poll": "1s", "concurrency": 16, "lease": "2m", "contact_patience": "24h",
            "retry": {"attempts": 10, "first": "30s", "longest": "4h"},
        });
        change(&mut json);
        let config: Config = serde_json::from_value(json).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn mails_go_to_a_server_or_into_a_folder() {
        assert_eq!(read(|_| ()).unwrap().smtp.unwrap().tls, TlsMode::Tls);
        let folder = read(|json| {
            json["smtp"] = Value::Null;
            json["mailbox"] = "mails".into();
        });
        assert_eq!(folder.unwrap().mailbox, Some(PathBuf::from("mails")));
        let local = read(|json| {
            json["smtp"]["host"] = "127.0.0.1".into();
            json["smtp"]["tls"] = "none".into();
            json["smtp"]["username"] = "cqm".into();
            json["smtp"]["password"] = "hunter2".into();
        });
        assert!(!format!("{:?}", local.unwrap()).contains("hunter2"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 16] = [
            (|json| json["smtp"] = Value::Null, "service.smtp"),
            (|json| json["mailbox"] = "mails".into(), "service.mailbox"),
            (|json| json["smtp"]["host"] = "".into(), "service.smtp.host"),
            (|json| json["smtp"]["from"] = "nobody".into(), "service.smtp.from"),
            (|json| json["smtp"]["from"] = "a@b.cn\nBcc: c@d.cn".into(), "service.smtp.from"),
            (|json| json["smtp"]["username"] = "cqm".into(), "service.smtp.password"),
            (
                |json| {
                    json["smtp"]["tls"] = "none".into();
                    json["smtp"]["username"] = "cqm".into();
                    json["smtp"]["password"] = "hunter2".into();
                },
                "service.smtp.tls",
            ),
            (
                |json| {
                    json["smtp"]["tls"] = "none".into();
                    json["smtp"]["ca_certificates"] = "ca.pem".into();
                },
                "service.smtp.ca_certificates",
            ),
            (|json| json["smtp"]["timeout"] = "0s".into(), "service.smtp.timeout"),
            (|json| json["smtp"]["timeout"] = "61s".into(), "service.lease"),
            (|json| json["poll"] = "0s".into(), "service.poll"),
            (|json| json["contact_patience"] = "0s".into(), "service.contact_patience"),
            (|json| json["concurrency"] = 0.into(), "service.concurrency"),
            (|json| json["retry"]["attempts"] = 0.into(), "service.retry.attempts"),
            (|json| json["retry"]["first"] = "0s".into(), "service.retry.first"),
            (|json| json["retry"]["longest"] = "1s".into(), "service.retry.longest"),
        ];
        for (change, key) in cases {
            let error = read(change).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
        assert!(read(|json| json["smtp"]["tls"] = "ssl".into()).unwrap_err().contains("ssl"));
    }
}
