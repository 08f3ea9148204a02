//! Configuration: embedded defaults, then a file, then the environment. What is unknown or makes no sense is
//! refused; nothing is guessed and nothing only warned about.

pub mod keys;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use cqm_db::{DatabaseConfig, DatabaseTls, EventsConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cache::CacheConfig;
use crate::pass::PassesConfig;
use crate::server::ServerConfig;
use crate::telemetry::TelemetryConfig;

/// Names the file that is read after the defaults.
pub const FILE_VARIABLE: &str = "CQM_CONFIG";

const BASE: &str = include_str!("config/base.toml");

/// Why a process does not start. The text names the key and never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration of {service} cannot be read: {problem}")]
    Unreadable { service: String, problem: String },
    #[error("the configuration's {key} {problem}")]
    Refused { key: &'static str, problem: String },
}

impl ConfigError {
    /// `key` as in the file (`server.drain.timeout`); `problem` completes the sentence.
    pub fn refused(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Refused { key, problem: problem.into() }
    }
}

/// A section that can tell whether its values make sense together.
pub trait Validate {
    /// Refuses, never warns: a process that starts runs as configured.
    fn validate(&self) -> Result<(), ConfigError>;
}

/// What a service's process is configured by: the sections of the parts it is made of, and its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings<C> {
    pub server: ServerConfig,
    pub telemetry: TelemetryConfig,
    pub passes: PassesConfig,
    pub database: DatabaseConfig,
    pub events: EventsConfig,
    pub cache: CacheConfig,
    pub service: C,
}

impl<C: Validate> Validate for Settings<C> {
    fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate()?;
        self.telemetry.validate()?;
        self.passes.validate()?;
        self.database.validate()?;
        self.events.validate()?;
        self.cache.validate()?;
        self.service.validate()
    }
}

/// For a service without a section of its own.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Validate for Nothing {
    fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

impl Validate for DatabaseConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.max_connections == 0 {
            return Err(ConfigError::refused("database.max_connections", "must be at least 1"));
        }
        if self.tls == Some(DatabaseTls::Off) && self.names_files() {
            let problem = "must not be off beside database.ca, database.certificate or database.key";
            return Err(ConfigError::refused("database.tls", problem));
        }
        if self.certificate.is_some() != self.key.is_some() {
            let problem = "must be there with a certificate, and only then";
            return Err(ConfigError::refused("database.key", problem));
        }
        positive("database.acquire_timeout", self.acquire_timeout)?;
        positive("database.connect_timeout", self.connect_timeout)?;
        positive("database.max_lifetime", self.max_lifetime)?;
        positive("database.lock_timeout", self.lock_timeout)
    }
}

impl Validate for EventsConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("events.poll", self.poll)?;
        positive("events.lease", self.lease)?;
        positive("events.remember", self.remember)
    }
}

/// The check that most durations need.
pub fn positive(key: &'static str, duration: Duration) -> Result<(), ConfigError> {
    if duration.is_zero() { Err(ConfigError::refused(key, "must be longer than zero")) } else { Ok(()) }
}

/// Reads a process's configuration: the suite's defaults, the service's own `defaults` (TOML), the file that
/// `CQM_CONFIG` names, and `CQM__SECTION__KEY` of the environment, each over the one before.
pub fn load<C: DeserializeOwned + Validate>(service: &str, defaults: &str) -> Result<C, ConfigError> {
    let file = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    read(service, &[defaults], file, None)
}

/// Reads the `database` section alone, from the same places. For `migrate`, which has to run before a release and must not
/// need what only serving needs, its secrets least of all; what else stands there is not looked at.
pub fn load_database(service: &str, defaults: &str) -> Result<DatabaseConfig, ConfigError> {
    let file = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    read::<OnlyDatabase>(service, &[defaults], file, None).map(|settings| settings.database)
}

/// Of the whole configuration, one section.
#[derive(Deserialize)]
struct OnlyDatabase {
    database: DatabaseConfig,
}

impl Validate for OnlyDatabase {
    fn validate(&self) -> Result<(), ConfigError> {
        self.database.validate()
    }
}

/// As [`load`] without a file and an environment: the suite's defaults and `layers` (TOML), each over the one
/// before. For processes that are put together by other code, such as the standalone.
pub fn layered<C: DeserializeOwned + Validate>(service: &str, layers: &[&str]) -> Result<C, ConfigError> {
    read(service, layers, None, Some(HashMap::new()))
}

/// As [`load`], with the environment given by the caller.
fn read<C: DeserializeOwned + Validate>(
    service: &str,
    layers: &[&str],
    file: Option<PathBuf>,
    environment: Option<HashMap<String, String>>,
) -> Result<C, ConfigError> {
    use ::config::{Config, Environment, File, FileFormat};

    let mut builder = Config::builder().add_source(File::from_str(BASE, FileFormat::Toml));
    for layer in layers {
        builder = builder.add_source(File::from_str(layer, FileFormat::Toml));
    }
    if let Some(path) = file {
        builder = builder.add_source(File::from(path).format(FileFormat::Toml).required(true));
    }
    let settings: C = builder
        .add_source(
            Environment::with_prefix("CQM")
                .prefix_separator("__")
                .separator("__")
                .ignore_empty(true)
                .try_parsing(true)
                .source(environment),
        )
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| ConfigError::Unreadable {
            service: service.to_owned(),
            problem: error.to_string(),
        })?;
    settings.validate()?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret, SecretString};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        greeting: String,
        key: SecretString,
        #[serde(with = "humantime_serde")]
        every: Duration,
    }

    impl Validate for Own {
        fn validate(&self) -> Result<(), ConfigError> {
            positive("service.every", self.every)
        }
    }

    const OWN: &str = "[service]\ngreeting = 'hello'\nevery = '1m'\n";

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings<Own>, ConfigError> {
        let mut environment: HashMap<String, String> = [
            ("CQM__DATABASE__URL", "host=/nowhere user=cqm dbname=x"),
            ("CQM__CACHE__KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ("CQM__SERVICE__KEY", "123456"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        environment.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        read("own", &[OWN], None, Some(environment))
    }

    #[test]
    fn the_environment_stands_over_the_defaults() {
        let settings = settings(&[
            ("CQM__SERVER__DRAIN__SETTLE", "3s"),
            ("CQM__SERVER__MAX_CONNECTIONS", "7"),
            ("CQM__SERVICE__GREETING", "good day"),
            ("HOME", "/root"),
            ("CQM_CONFIG", "/not/read/here"),
        ])
        .unwrap();
        assert_eq!(settings.server.drain.settle, Duration::from_secs(3));
        assert_eq!(settings.server.max_connections, 7);
        assert_eq!(settings.service.greeting, "good day");
        assert_eq!(settings.service.every, Duration::from_secs(60));
        assert_eq!(settings.service.key.expose_secret(), "123456");
    }

    #[test]
    fn a_file_stands_between_the_defaults_and_the_environment() {
        let path = std::env::temp_dir().join(format!("cqm-config-{}.toml", uuid::Uuid::new_v4()));
        std::fs::write(
            &path,
            "[server]\nmax_connections = 11\nmax_in_flight = 12\n[database]\nurl = 'host=/x'\n[cache]\n\
             key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='\n[service]\nkey = 'k'\n",
        )
        .unwrap();
        let environment = HashMap::from([("CQM__SERVER__MAX_IN_FLIGHT".to_owned(), "13".to_owned())]);
        let settings: Settings<Own> = read("own", &[OWN], Some(path.clone()), Some(environment)).unwrap();
        assert_eq!(settings.server.max_connections, 11);
        assert_eq!(settings.server.max_in_flight, 13);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn unknown_keys_are_refused() {
        for key in ["CQM__SERVER__MAX_CONECTIONS", "CQM__SERVICE__GREETINGS", "CQM__SERVERS__LISTEN"] {
            let error = settings(&[(key, "1")]).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{key}: {error}");
        }
    }

    #[test]
    fn values_without_sense_are_refused_by_name() {
        for (variable, value, key) in [
            ("CQM__SERVER__DRAIN__TIMEOUT", "0s", "server.drain.timeout"),
            ("CQM__SERVER__DEADLINE__FALLBACK", "31s", "server.deadline.fallback"),
            ("CQM__SERVER__MAX_IN_FLIGHT", "0", "server.max_in_flight"),
            ("CQM__SERVER__TLS__CERTIFICATE", "/a", "server.tls.key"),
            ("CQM__SERVER__TLS__CLIENT_CA", "/a", "server.tls.client_ca"),
            ("CQM__SERVER__TLS__RELOAD", "0s", "server.tls.reload"),
            ("CQM__TELEMETRY__SAMPLE", "1.5", "telemetry.sample"),
            ("CQM__TELEMETRY__OTLP_ENDPOINT", "collector:4317", "telemetry.otlp_endpoint"),
            ("CQM__TELEMETRY__LISTEN_TLS__KEY", "/a", "telemetry.listen_tls.key"),
            ("CQM__PASSES__RELOAD", "0s", "passes.reload"),
            ("CQM__DATABASE__MAX_CONNECTIONS", "0", "database.max_connections"),
            ("CQM__SERVICE__EVERY", "0s", "service.every"),
        ] {
            let error = settings(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{variable}: {error}");
        }
    }

    #[test]
    fn the_defaults_in_code_are_those_of_the_file() {
        let settings = settings(&[]).unwrap();
        assert_eq!(format!("{:?}", settings.server), format!("{:?}", ServerConfig::default()));
        assert_eq!(format!("{:?}", settings.telemetry), format!("{:?}", TelemetryConfig::default()));
    }

    #[test]
    fn a_missing_address_of_the_database_is_named() {
        let error = settings(&[("CQM__DATABASE__URL", "")]).unwrap_err().to_string();
        assert!(error.contains("database") && error.contains("url"), "{error}");
    }

    #[test]
    fn a_migration_needs_the_database_and_nothing_else() {
        let read_with = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            read::<OnlyDatabase>("own", &[OWN], None, Some(pairs.collect()))
        };
        let url = ("CQM__DATABASE__URL", "host=/nowhere");
        assert!(read_with(&[url]).is_ok(), "no key of the service's own, no cache");
        assert!(
            read_with(&[url, ("CQM__SERVICE__GREETINGS", "x")]).is_ok(),
            "other sections are not looked at"
        );
        for (pairs, word) in [
            (vec![], "url"),
            (vec![url, ("CQM__DATABASE__URLS", "x")], "unknown field"),
            (vec![url, ("CQM__DATABASE__TLS", "maybe")], "tls"),
            (vec![url, ("CQM__DATABASE__TLS", "off"), ("CQM__DATABASE__CA", "/ca.crt")], "database.tls"),
            (vec![url, ("CQM__DATABASE__CERTIFICATE", "/tls.crt")], "database.key"),
            (vec![url, ("CQM__DATABASE__CONNECT_TIMEOUT", "0s")], "database.connect_timeout"),
        ] {
            let error = read_with(&pairs).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = settings(&[("CQM__SERVICE__KEY", "hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
