//! A mail server.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqm_rpc::{BoxError, Clock};
use cqm_runtime::watched::Watched;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Tls;
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use rustls::CertificateError;
use secrecy::ExposeSecret;

use super::letter::{Letter, Unsendable};
use super::trust::parameters;
use super::{Attempt, Trust};
use crate::config::{SmtpConfig, TlsMode};
use crate::domain::delivery::Outcome;

/// Answers that speak of us and not of the mail: credentials are missing or wrong. The operator can mend that, so they
/// end no message.
const OURS: [&str; 4] = ["530", "534", "535", "538"];

/// Between two looks at the certificates of those who vouch for the server. Too high: an authority that was exchanged
/// delays mails. Too low: the file system is asked for nothing.
const RELOAD: Duration = Duration::from_secs(10);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

pub(crate) struct Smtp {
    way: Way,
    from: Mailbox,
    timeout: Duration,
}

/// By whom the server is believed.
enum Way {
    /// By those whom the system trusts, or it need not be.
    Fixed(Transport),
    /// By those in a file, which may be exchanged while the process runs.
    Watched(Watched<Transport>),
}

impl Smtp {
    /// Needs a runtime: the pool of connections cleans up behind itself there.
    pub(super) fn open(config: &SmtpConfig, trust: &Trust, concurrency: usize) -> Result<Self, BoxError> {
        let connections = u32::try_from(concurrency)?;
        let way = match trust.file() {
            None => Way::Fixed(transport(config, None, connections)?),
            Some(file) => {
                let config = config.clone();
                let make = move |pem: &[u8]| transport(&config, Some(pem), connections);
                Way::Watched(Watched::file(file.to_owned(), RELOAD, Clock::system().now(), make)?)
            }
        };
        Ok(Self { way, from: config.from.parse()?, timeout: config.timeout })
    }

    pub(super) async fn send(&self, letter: &Letter, now: DateTime<Utc>) -> Attempt {
        let mail = match letter.build(&self.from, false, now) {
            Ok(mail) => mail,
            Err(Unsendable(why)) => return (Outcome::PermanentFailure, why.to_owned()),
        };
        let transport = match &self.way {
            Way::Fixed(transport) => transport.clone(),
            Way::Watched(transport) => Transport::clone(&*transport.current(now).await),
        };
        // The transport's own limit is one of each command.
        match tokio::time::timeout(self.timeout, transport.send(mail)).await {
            Ok(Ok(response)) => (Outcome::Accepted, format!("smtp {}", response.code())),
            Ok(Err(error)) => judge(&error),
            Err(_) => (Outcome::TransientFailure, "timeout".to_owned()),
        }
    }
}

fn transport(config: &SmtpConfig, pem: Option<&[u8]>, connections: u32) -> Result<Transport, BoxError> {
    let parameters = || parameters(&config.host, pem);
    let (tls, usual_port) = match config.tls {
        TlsMode::Tls => (Tls::Wrapper(parameters()?), 465),
        TlsMode::Starttls => (Tls::Required(parameters()?), 587),
        TlsMode::None => (Tls::None, 25),
    };
    let mut builder = Transport::builder_dangerous(config.host.as_str())
        .port(config.port.unwrap_or(usual_port))
        .tls(tls)
        .timeout(Some(config.timeout))
        .pool_config(PoolConfig::new().max_size(connections));
    if let (Some(username), Some(password)) = (&config.username, &config.password) {
        builder =
            builder.credentials(Credentials::new(username.clone(), password.expose_secret().to_owned()));
    }
    Ok(builder.build())
}

/// The server's words are left out: they often repeat the address.
fn judge(error: &smtp::Error) -> Attempt {
    if let Some(code) = error.status() {
        let code = code.to_string();
        let outcome = if error.is_permanent() && !OURS.contains(&code.as_str()) {
            Outcome::PermanentFailure
        } else {
            Outcome::TransientFailure
        };
        return (outcome, format!("smtp {code}"));
    }
    let what = if error.is_timeout() {
        "timeout"
    } else if let Some(problem) = tls_problem(error) {
        problem
    } else if error.is_response() {
        "no answer, or none that is understood"
    } else if error.is_client() {
        "server lacks what the mail or the configuration needs"
    } else {
        "connection"
    };
    (Outcome::TransientFailure, what.to_owned())
}

/// What is wrong with the encryption, if it is that. To the mail library it is a connection that failed like any other,
/// and the operator would look for the reason in the network.
fn tls_problem(error: &smtp::Error) -> Option<&'static str> {
    let mut source = error.source();
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(match tls {
                rustls::Error::InvalidCertificate(problem) => certificate_problem(problem),
                _ => "tls",
            });
        }
        source = cause.source();
    }
    None
}

fn certificate_problem(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::UnknownIssuer => "tls: nobody who is trusted vouches for the certificate",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "tls: the certificate is another server's"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "tls: the certificate has expired"
        }
        _ => "tls: the certificate is not valid",
    }
}
