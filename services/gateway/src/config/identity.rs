//! The section `service.identity`: whose tokens are taken, and what of them is believed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cqm_rpc::{Role, role_from_name};
use cqm_runtime::config::{ConfigError, Validate, positive};
use http::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

const ISSUERS: &str = "service.identity.issuers";

/// Whose tokens are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
    #[serde(with = "humantime_serde")]
    pub retry: Duration,
    #[serde(with = "humantime_serde")]
    pub outage_limit: Duration,
    #[serde(with = "humantime_serde")]
    pub fetch_timeout: Duration,
    /// By a name of the operator's choice.
    #[serde(default)]
    pub issuers: BTreeMap<String, IssuerConfig>,
}

/// One issuer of tokens. Where its keys come from: the file `jwks`, the address `jwks_url`, or, without either, what is
/// found by OpenID Connect Discovery under `issuer`. A token is checked by its own issuer's keys and no others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must contain.
    pub audience: String,
    /// What its tokens may be signed by.
    #[serde(default)]
    pub algorithms: Words<Algorithm>,
    /// The file with its keys, a JSON Web Key Set.
    #[serde(default)]
    pub jwks: Option<PathBuf>,
    /// Where its keys are fetched, `https://...`; `http://...` trusts everybody on the way.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The authorities that may vouch for it, a file in PEM, in place of those that the machine trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A file with a token that it asks for before it tells its keys, as Kubernetes does.
    #[serde(default)]
    pub bearer: Option<PathBuf>,
    /// The claim with the roles: a list of names. `realm_access.roles` is `roles` within `realm_access`.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    /// The issuer's names for a role, by the suite's. Empty: the issuer uses the suite's names.
    #[serde(default)]
    pub roles: BTreeMap<String, Names>,
    /// Who has a role whatever their token says, by role.
    #[serde(default)]
    pub subjects: BTreeMap<String, Names>,
    /// Stands before its subjects: two issuers may know somebody by the same name.
    #[serde(default)]
    pub prefix: String,
    /// Whether its tokens may carry `internal_service`. None may ever carry `coordinator` or `customer`.
    #[serde(default)]
    pub internal_service: bool,
}

/// A list of words; in the environment, which has no lists, one text with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words<T>(pub Vec<T>);

pub type Names = Words<String>;

impl IssuerConfig {
    /// An issuer whose keys lie in a file.
    pub fn of_file(issuer: &str, audience: &str, jwks: PathBuf) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            algorithms: Words::default(),
            jwks: Some(jwks),
            jwks_url: None,
            ca: None,
            bearer: None,
            roles_claim: roles_claim(),
            roles: BTreeMap::new(),
            subjects: BTreeMap::new(),
            prefix: String::new(),
            internal_service: false,
        }
    }

    /// Where its keys are fetched, or where to look for that; `None` when they lie in a file.
    pub(crate) fn address(&self) -> Option<String> {
        match (&self.jwks, &self.jwks_url) {
            (Some(_), _) => None,
            (None, Some(url)) => Some(url.clone()),
            (None, None) => {
                Some(format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/')))
            }
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refused = |problem: &str| Err(ConfigError::refused(ISSUERS, problem));
        if self.issuer.is_empty() || self.audience.is_empty() || self.roles_claim.is_empty() {
            return refused("must have an issuer, an audience and a roles_claim");
        }
        // With a secret in place of a key pair whoever checks tokens could make them.
        if self.algorithms.0.is_empty()
            || self.algorithms.0.iter().any(|one| one.family() == AlgorithmFamily::Hmac)
        {
            return refused("must have algorithms, of which none is HS256, HS384 or HS512");
        }
        if self.jwks.is_some() && self.jwks_url.is_some() {
            return refused("must have jwks or jwks_url, not both");
        }
        let secure = match self.address().as_deref().map(web) {
            Some(None) => return refused("must have jwks, or an https:// address for its keys"),
            Some(Some(secure)) => secure,
            None => false,
        };
        if !secure && (self.ca.is_some() || self.bearer.is_some()) {
            return refused("must fetch its keys by https:// when it has ca or bearer");
        }
        for name in self.roles.keys().chain(self.subjects.keys()) {
            match role_from_name(name) {
                None | Some(Role::Coordinator | Role::Customer) => {
                    return refused("must map to roles of the suite that a token may carry");
                }
                Some(Role::InternalService) if !self.internal_service => {
                    return refused("must set internal_service to map anything to it");
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Whether it is an address of the web, and whether a secure one.
fn web(address: &str) -> Option<bool> {
    let uri = Uri::from_str(address).ok()?;
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    match uri.scheme_str().filter(|_| plain)? {
        "https" => Some(true),
        "http" => Some(false),
        _ => None,
    }
}

fn roles_claim() -> String {
    "roles".to_owned()
}

impl Default for IdentityConfig {
    /// What `config/gateway.toml` says: nobody is trusted.
    fn default() -> Self {
        Self {
            reload: Duration::from_secs(30),
            refresh: Duration::from_secs(300),
            retry: Duration::from_secs(30),
            outage_limit: Duration::from_secs(24 * 3600),
            fetch_timeout: Duration::from_secs(3),
            issuers: BTreeMap::new(),
        }
    }
}

impl Default for Words<Algorithm> {
    /// What issuers sign by today. A key takes those of its own kind only.
    fn default() -> Self {
        Self(vec![Algorithm::EdDSA, Algorithm::ES256, Algorithm::PS256, Algorithm::RS256])
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Words<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            List(Vec<String>),
        }
        let words = match Raw::deserialize(deserializer)? {
            Raw::List(words) => words,
            Raw::Text(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
        };
        let words = words.iter().filter(|word| !word.is_empty()).map(|word| word.parse());
        words.collect::<Result<_, _>>().map(Self).map_err(D::Error::custom)
    }
}

impl Validate for IdentityConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        positive("service.identity.reload", self.reload)?;
        positive("service.identity.refresh", self.refresh)?;
        positive("service.identity.retry", self.retry)?;
        positive("service.identity.fetch_timeout", self.fetch_timeout)?;
        if self.outage_limit < self.refresh {
            return Err(ConfigError::refused(
                "service.identity.outage_limit",
                "must not be shorter than service.identity.refresh",
            ));
        }
        let issuers: Vec<_> = self.issuers.values().collect();
        for (index, issuer) in issuers.iter().enumerate() {
            issuer.validate()?;
            for other in &issuers[..index] {
                if other.issuer == issuer.issuer {
                    return Err(ConfigError::refused(ISSUERS, "must not name an issuer twice"));
                }
                // A subject is unique within its issuer only, and request ids belong to subjects.
                if other.prefix.starts_with(&issuer.prefix) || issuer.prefix.starts_with(&other.prefix) {
                    return Err(ConfigError::refused(
                        ISSUERS,
                        "must have prefixes of which none begins with another",
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(issuer: &str, prefix: &str) -> IssuerConfig {
        IssuerConfig { prefix: prefix.to_owned(), ..IssuerConfig::of_file(issuer, "cqm", "/none".into()) }
    }

    fn identity<const N: usize>(issuers: [IssuerConfig; N]) -> IdentityConfig {
        let issuers =
            issuers.into_iter().enumerate().map(|(index, issuer)| (index.to_string(), issuer)).collect();
        IdentityConfig { issuers, ..IdentityConfig::default() }
    }

    /// An issuer with these members more, in JSON.
    fn read(more: &str) -> Result<IssuerConfig, String> {
        let comma = if more.is_empty() { "" } else { "," };
        let text = format!(r#"{{"issuer": "https://login.example.com", "audience": "cqm"{comma} {more}}}"#);
        let issuer: IssuerConfig = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        identity([issuer.clone()]).validate().map_err(|error| error.to_string())?;
        Ok(issuer)
    }

    #[test]
    fn two_issuers_cannot_speak_for_the_same_caller() {
        assert!(identity([issuer("a", "")]).validate().is_ok());
        assert!(identity([issuer("a", "a:"), issuer("b", "b:")]).validate().is_ok());
        assert!(identity([issuer("a", ""), issuer("b", "b:")]).validate().is_err());
        assert!(identity([issuer("a", "a:"), issuer("b", "a:b:")]).validate().is_err());
        assert!(identity([issuer("a", "a:"), issuer("a", "b:")]).validate().is_err());
    }

    #[test]
    fn keys_come_from_a_file_an_address_or_by_discovery() {
        assert_eq!(read(r#""jwks": "/keys.json""#).unwrap().address(), None);
        let url = read(r#""jwks_url": "https://keys.example.com/""#).unwrap().address();
        assert_eq!(url.as_deref(), Some("https://keys.example.com/"));
        let found = "https://login.example.com/.well-known/openid-configuration";
        assert_eq!(read("").unwrap().address().as_deref(), Some(found));
    }

    #[test]
    fn lists_may_be_one_text_with_commas() {
        let expected = [Algorithm::RS256, Algorithm::ES384];
        for text in [r#""algorithms": "RS256, ES384""#, r#""algorithms": ["RS256", "ES384"]"#] {
            assert_eq!(read(text).unwrap().algorithms.0, expected);
        }
        let mapped = read(r#""roles": {"supervisor": "lead,cqm:boss"}"#).unwrap();
        assert_eq!(mapped.roles["supervisor"].0, ["lead", "cqm:boss"]);
    }

    #[test]
    fn an_issuer_without_sense_is_refused() {
        for more in [
            r#""algorithms": "HS256""#,
            r#""algorithms": "RS256,HS512""#,
            r#""algorithms": "none""#,
            r#""algorithms": """#,
            r#""roles_claim": """#,
            r#""jwks": "/keys.json", "jwks_url": "https://x/""#,
            r#""jwks_url": "ftp://x/""#,
            r#""jwks_url": "/keys.json""#,
            r#""jwks_url": "https://user:password@x/""#,
            r#""jwks_url": "http://x/", "bearer": "/token""#,
            r#""jwks": "/keys.json", "ca": "/ca.pem""#,
            r#""roles": {"root": "admin"}"#,
            r#""roles": {"coordinator": "admin"}"#,
            r#""subjects": {"customer": "me"}"#,
            r#""subjects": {"internal_service": "me"}"#,
            r#""secret": "hunter2""#,
        ] {
            assert!(read(more).is_err(), "{more}");
        }
        assert!(read(r#""internal_service": true, "subjects": {"internal_service": "me"}"#).is_ok());
    }
}
