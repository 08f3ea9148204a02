//! The services behind the gateway: what they are called, which package they answer for, where they are.

use std::str::FromStr;

use cqm_rpc::BoxError;
use cqm_runtime::channel::{self, Channel, ChannelConfig};
use cqm_runtime::config::{ConfigError, Validate};
use cqm_runtime::pass::Mint;
use cqm_runtime::tls::ClientTls;
use http::Uri;
use http::uri::{Authority, Scheme};
use serde::Deserialize;

/// A service of the suite that owns data, and so a source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    Complaints,
    CustomerData,
    Loyalty,
    Notifications,
    Surveys,
}

impl Backend {
    /// By name, which is the order of every list of them.
    pub const ALL: [Self; 5] =
        [Self::Complaints, Self::CustomerData, Self::Loyalty, Self::Notifications, Self::Surveys];

    /// The service's name, as callers, logs and the feed's `x-cqm-source` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complaints => "complaints",
            Self::CustomerData => "customer-data",
            Self::Loyalty => "loyalty",
            Self::Notifications => "notifications",
            Self::Surveys => "surveys",
        }
    }

    /// The package of the contract that it answers for.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Complaints => "cqm.complaints.v1",
            Self::CustomerData => "cqm.customers.v1",
            Self::Loyalty => "cqm.loyalty.v1",
            Self::Notifications => "cqm.notifications.v1",
            Self::Surveys => "cqm.surveys.v1",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    pub fn from_package(package: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.package() == package)
    }
}

/// Where each service listens, `https://host:port` or, without TLS, `http://host:port`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backends {
    pub complaints: String,
    pub customer_data: String,
    pub loyalty: String,
    pub notifications: String,
    pub surveys: String,
    /// How those with `https` are called.
    #[serde(default)]
    pub tls: ClientTls,
}

impl Backends {
    /// For processes that are put together by hand.
    pub fn at(address: impl Fn(Backend) -> String) -> Self {
        Self {
            complaints: address(Backend::Complaints),
            customer_data: address(Backend::CustomerData),
            loyalty: address(Backend::Loyalty),
            notifications: address(Backend::Notifications),
            surveys: address(Backend::Surveys),
            tls: ClientTls::default(),
        }
    }

    /// A channel that shows the service its passes. It connects at the first call, on the current runtime.
    pub(crate) fn connect(
        &self,
        backend: Backend,
        config: &ChannelConfig,
        mint: &Mint,
    ) -> Result<Channel, ConfigError> {
        Ok(channel::connect(self.address(backend), config)?.with_passes(mint.for_service(backend.name())))
    }

    pub fn address(&self, backend: Backend) -> &str {
        match backend {
            Backend::Complaints => &self.complaints,
            Backend::CustomerData => &self.customer_data,
            Backend::Loyalty => &self.loyalty,
            Backend::Notifications => &self.notifications,
            Backend::Surveys => &self.surveys,
        }
    }

    /// What their address is secured by, if it is.
    pub fn tls(&self, backend: Backend) -> Option<&ClientTls> {
        self.address(backend).starts_with("https:").then_some(&self.tls)
    }

    /// How channels to them are made.
    pub fn channels(&self) -> ChannelConfig {
        ChannelConfig { tls: self.tls.clone(), ..ChannelConfig::default() }
    }

    /// Reads the certificates that the addresses need, so that what is wrong with them is told at the start.
    pub fn open(&self) -> Result<(), BoxError> {
        let secured = Backend::ALL.into_iter().find_map(|backend| self.tls(backend));
        secured.map_or(Ok(()), ClientTls::open)
    }
}

/// A channel to each service.
#[derive(Clone, Debug)]
pub struct Channels([Channel; Backend::ALL.len()]);

impl Channels {
    pub fn new(to: impl FnMut(Backend) -> Channel) -> Self {
        Self(Backend::ALL.map(to))
    }

    pub fn to(&self, backend: Backend) -> Channel {
        self.0[backend as usize].clone()
    }
}

impl Validate for Backends {
    fn validate(&self) -> Result<(), ConfigError> {
        for backend in Backend::ALL {
            authority(self.address(backend)).ok_or_else(|| {
                let problem =
                    format!("must name {} as https://host:port or http://host:port", backend.name());
                ConfigError::refused("service.backends", problem)
            })?;
        }
        self.tls.validate()
    }
}

/// Host and port of `https://host:port` or `http://host:port`, or `None` when it is anything else.
pub(crate) fn authority(address: &str) -> Option<Authority> {
    let uri = Uri::from_str(address).ok()?;
    let bare = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme())
        && uri.path() == "/"
        && uri.query().is_none();
    let authority = uri.authority().filter(|authority| bare && !authority.as_str().contains('@'))?;
    authority.port_u16().map(|_| authority.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cqm_proto::policy;

    use super::*;

    #[test]
    fn every_package_of_the_contract_has_its_place() {
        let packages: BTreeSet<&str> = policy::all()
            .iter()
            .filter_map(|policy| policy.path.trim_start_matches('/').split('/').next()?.rsplit_once('.'))
            .map(|(package, _)| package)
            .collect();
        let ours: BTreeSet<&str> = Backend::ALL
            .into_iter()
            .map(Backend::package)
            .chain(["cqm.gateway.v1", "cqm.events.v1", "cqm.audit.v1", "cqm.subjects.v1"])
            .collect();
        assert_eq!(packages, ours);
    }

    #[test]
    fn only_plain_addresses_are_taken() {
        for address in ["http://complaints:50051", "http://127.0.0.1:1", "https://[::1]:50051"] {
            assert!(authority(address).is_some(), "{address}");
        }
        for address in [
            "",
            "complaints:50051",
            "ftp://complaints:50051",
            "https://complaints",
            "http://x:1/p",
            "http://u@x:1",
        ] {
            assert!(authority(address).is_none(), "{address}");
        }
    }
}
