//! The `server` section. The defaults, and what each duration does when it is too high or too low, stand in
//! `config/base.toml`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{ConfigError, Validate, positive};
use crate::tls::ServerTlsConfig;

/// How a process listens and what it lets in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    /// Says that nothing is secured; a listener without certificate and without this word does not open.
    pub plaintext: bool,
    pub tls: ServerTlsConfig,
    pub shape: Shape,
    /// Runtimes of [`Shape::PerCore`]; 0 takes one per core.
    pub shards: usize,
    pub max_connections: usize,
    /// Calls at work in the whole process.
    pub max_in_flight: usize,
    /// Calls at work of one caller.
    pub max_in_flight_per_caller: usize,
    /// Of `max_in_flight`, what streams may take together.
    pub bulk_share_percent: u8,
    pub max_concurrent_streams: u32,
    /// Bytes.
    pub stream_window: u32,
    /// Bytes.
    pub connection_window: u32,
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub send_timeout: Duration,
    /// On one connection, by the second, beside those that its calls and answers are worth.
    pub max_control_frames: u32,
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub connection_age: Duration,
    #[serde(with = "humantime_serde")]
    pub connection_grace: Duration,
    pub reflection: bool,
    pub web: WebConfig,
    pub deadline: DeadlineConfig,
    pub drain: DrainConfig,
}

/// How cores and listeners are put together.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// One single-threaded runtime per core, each with a listener of its own on the same address.
    PerCore,
    /// The process's own runtime, one listener.
    MultiThread,
}

/// Whether and for whom browsers may call, over gRPC-Web.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    pub enabled: bool,
    /// The sites whose pages may call, as in the header `origin`; `*` means all.
    pub origins: Vec<String>,
}

/// How long calls may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineConfig {
    #[serde(with = "humantime_serde")]
    pub fallback: Duration,
    #[serde(with = "humantime_serde")]
    pub cap: Duration,
    #[serde(with = "humantime_serde")]
    pub stream_cap: Duration,
}

/// How a process stops answering.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    #[serde(with = "humantime_serde")]
    pub settle: Duration,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl ServerConfig {
    /// The suite's defaults on another address and in plaintext, for processes that are put together by hand on one
    /// machine.
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen, plaintext: true, ..Self::default() }
    }
}

impl Default for ServerConfig {
    /// What `config/base.toml` says, which a test holds it to.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 50051)),
            plaintext: false,
            tls: ServerTlsConfig::default(),
            shape: Shape::PerCore,
            shards: 0,
            max_connections: 10_000,
            max_in_flight: 1024,
            max_in_flight_per_caller: 512,
            bulk_share_percent: 60,
            max_concurrent_streams: 100,
            stream_window: 1024 * 1024,
            connection_window: 2 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(5 * 60),
            send_timeout: Duration::from_secs(10),
            max_control_frames: 200,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(10 * 60),
            connection_grace: Duration::from_secs(60),
            reflection: true,
            web: WebConfig::default(),
            deadline: DeadlineConfig {
                fallback: Duration::from_secs(5),
                cap: Duration::from_secs(30),
                stream_cap: Duration::from_secs(10 * 60),
            },
            drain: DrainConfig { settle: Duration::from_secs(5), timeout: Duration::from_secs(20) },
        }
    }
}

impl Validate for ServerConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let counts = [
            ("server.max_connections", self.max_connections),
            ("server.max_in_flight", self.max_in_flight),
            ("server.max_in_flight_per_caller", self.max_in_flight_per_caller),
            ("server.max_concurrent_streams", self.max_concurrent_streams as usize),
            ("server.max_control_frames", self.max_control_frames as usize),
        ];
        for (key, count) in counts {
            if count == 0 || count > tokio::sync::Semaphore::MAX_PERMITS {
                return Err(ConfigError::refused(key, "must be at least 1 and no astronomical number"));
            }
        }
        if !(1..=100).contains(&self.bulk_share_percent) {
            return Err(ConfigError::refused("server.bulk_share_percent", "must be 1 to 100"));
        }
        if self.web.origins.iter().any(|origin| origin != "*" && !is_origin(origin)) {
            return Err(ConfigError::refused(
                "server.web.origins",
                "must be * or sites as https://host or https://host:port",
            ));
        }
        // RFC 9113, 6.9.2: the window is a 31-bit number; below 64 KiB a unary message would stall on it.
        for (key, window) in [
            ("server.stream_window", self.stream_window),
            ("server.connection_window", self.connection_window),
        ] {
            if !(65_535..=i32::MAX as u32).contains(&window) {
                return Err(ConfigError::refused(key, "must lie between 65535 and 2147483647"));
            }
        }
        self.tls.validate()?;
        if self.plaintext && self.tls.certificate.is_some() {
            let problem = "must not be true beside server.tls.certificate: a listener is one or the other";
            return Err(ConfigError::refused("server.plaintext", problem));
        }
        positive("server.handshake_timeout", self.handshake_timeout)?;
        positive("server.idle_timeout", self.idle_timeout)?;
        positive("server.send_timeout", self.send_timeout)?;
        positive("server.keepalive_interval", self.keepalive_interval)?;
        positive("server.keepalive_timeout", self.keepalive_timeout)?;
        positive("server.connection_age", self.connection_age)?;
        positive("server.connection_grace", self.connection_grace)?;
        positive("server.deadline.fallback", self.deadline.fallback)?;
        positive("server.drain.timeout", self.drain.timeout)?;
        if self.deadline.fallback > self.deadline.cap {
            return Err(ConfigError::refused(
                "server.deadline.fallback",
                "must not exceed server.deadline.cap",
            ));
        }
        if self.deadline.cap > self.deadline.stream_cap {
            return Err(ConfigError::refused(
                "server.deadline.cap",
                "must not exceed server.deadline.stream_cap",
            ));
        }
        Ok(())
    }
}

/// RFC 6454: scheme, host and perhaps a port, and nothing behind them; browsers compare it to the byte.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    text == text.to_ascii_lowercase()
        && text.ends_with(authority.as_str())
        && !authority.as_str().contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_would_send_is_an_origin() {
        for origin in ["https://desk.example.com", "http://localhost:3000"] {
            assert!(is_origin(origin), "{origin}");
        }
        for text in [
            "desk.example.com",
            "https://desk.example.com/",
            "https://Desk.example.com",
            "ftp://x",
            "null",
            "https://u@x",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
