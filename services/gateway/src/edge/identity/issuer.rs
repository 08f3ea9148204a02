//! One issuer: its tokens, and what of them is believed.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_rpc::{BoxError, Caller, Role, role_from_name};

use super::keys::Keys;
use super::source::Source;
use super::token::{self, Claims};
use crate::config::{IdentityConfig, IssuerConfig, Names, RESERVED_SUBJECTS};

const MAX_SUBJECT: usize = 255;

/// An issuer with the keys that it showed last.
pub(super) struct Issuer {
    config: IssuerConfig,
    source: Source,
    mapping: Mapping,
}

/// A token that was checked, and when it may be used.
#[derive(Clone)]
pub(super) struct Valid {
    caller: Caller,
    not_before: DateTime<Utc>,
    pub expires: DateTime<Utc>,
    /// What it was checked by.
    pub keys: Arc<Keys>,
}

impl Valid {
    pub fn at(self, now: DateTime<Utc>) -> Option<Caller> {
        (self.not_before <= now && now < self.expires).then_some(self.caller)
    }
}

impl Issuer {
    pub fn new(config: &IssuerConfig, times: &IdentityConfig, now: DateTime<Utc>) -> Result<Self, BoxError> {
        Ok(Self {
            source: Source::new(config, times, now)?,
            mapping: Mapping::new(config),
            config: config.clone(),
        })
    }

    /// What `iss` is.
    pub fn name(&self) -> &str {
        &self.config.issuer
    }

    pub async fn fetch(&self, now: DateTime<Utc>) -> Result<usize, BoxError> {
        self.source.fetch(now).await
    }

    /// The keys in force.
    pub async fn keys(&self, now: DateTime<Utc>) -> Option<Arc<Keys>> {
        self.source.current(now).await
    }

    /// Checks a token by the key that its header names.
    pub async fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Valid> {
        let head = token::head(token)?;
        let mut keys = self.source.current(now).await;
        if keys.as_ref().is_none_or(|keys| !keys.has(&head.key)) {
            keys = self.source.latest(now).await;
        }
        let keys = keys?;
        let key = keys.find(&head.key, head.algorithm)?;
        let claims =
            Claims::verified(token, key, head.algorithm, &self.config.issuer, &self.config.audience)?;
        let (not_before, expires) = claims.validity()?;
        let caller = self.mapping.caller(&claims)?;
        Some(Valid { caller, not_before, expires, keys })
    }
}

/// From an issuer's claims to the suite's roles.
struct Mapping {
    claim: String,
    /// By the issuer's names; `None` when those are the suite's.
    roles: Option<HashMap<String, Vec<Role>>>,
    subjects: HashMap<String, Vec<Role>>,
    prefix: String,
    internal_service: bool,
}

impl Mapping {
    fn new(config: &IssuerConfig) -> Self {
        Self {
            claim: config.roles_claim.clone(),
            roles: (!config.roles.is_empty()).then(|| inverse(&config.roles)),
            subjects: inverse(&config.subjects),
            prefix: config.prefix.clone(),
            internal_service: config.internal_service,
        }
    }

    /// The caller, with those of the roles that the issuer may give.
    fn caller(&self, claims: &Claims) -> Option<Caller> {
        let subject = format!("{}{}", self.prefix, claims.sub);
        // It becomes the owner of request ids and stands in logs.
        let sound = !claims.sub.is_empty()
            && subject.len() <= MAX_SUBJECT
            && subject.bytes().all(|byte| byte.is_ascii_graphic())
            && !RESERVED_SUBJECTS.contains(&subject.as_str());
        sound.then_some(())?;
        let mut roles: Vec<Role> = self.subjects.get(&claims.sub).cloned().unwrap_or_default();
        for name in claims.names(&self.claim)? {
            match &self.roles {
                Some(mapped) => roles.extend(mapped.get(name).into_iter().flatten()),
                None => roles.extend(role_from_name(name)),
            }
        }
        roles.retain(|role| match role {
            Role::Unspecified | Role::Coordinator | Role::Customer => false,
            Role::InternalService => self.internal_service,
            _ => true,
        });
        roles.sort_unstable();
        roles.dedup();
        Some(Caller { subject: subject.into(), roles })
    }
}

fn inverse<'a>(names: impl IntoIterator<Item = (&'a String, &'a Names)>) -> HashMap<String, Vec<Role>> {
    let mut roles: HashMap<String, Vec<Role>> = HashMap::new();
    for (role, theirs) in names {
        for name in &theirs.0 {
            roles.entry(name.clone()).or_default().extend(role_from_name(role));
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Words;
    use crate::edge::identity::token::tests::claims;

    fn config() -> IssuerConfig {
        IssuerConfig::of_file("issuer", "cqm", "/none".into())
    }

    fn roles(config: &IssuerConfig, json: &str) -> Vec<Role> {
        Mapping::new(config).caller(&claims(json)).unwrap().roles
    }

    #[test]
    fn system_roles_are_not_the_issuers_to_give() {
        let all = r#""sub": "staff-7", "roles":
            ["supervisor", "internal_service", "coordinator", "customer", "root", "supervisor"]"#;
        assert_eq!(roles(&config(), all), [Role::Supervisor]);
        let trusted = IssuerConfig { internal_service: true, ..config() };
        assert_eq!(roles(&trusted, all), [Role::Supervisor, Role::InternalService]);
    }

    #[test]
    fn an_issuers_names_are_the_roles_that_the_configuration_says() {
        let words = |words: &[&str]| Words(words.iter().map(|word| (*word).to_owned()).collect());
        let mapped = IssuerConfig {
            roles_claim: "realm_access.roles".to_owned(),
            roles: [
                ("service_manager".to_owned(), words(&["care-manager", "boss"])),
                ("supervisor".to_owned(), words(&["boss"])),
            ]
            .into(),
            subjects: [("after_sales".to_owned(), words(&["workshop-1"]))].into(),
            ..config()
        };
        let with = |names: &str| format!(r#""sub": "staff-7", "realm_access": {{"roles": {names}}}"#);
        assert_eq!(roles(&mapped, &with(r#"["boss", "boss"]"#)), [Role::ServiceManager, Role::Supervisor]);
        assert_eq!(roles(&mapped, &with(r#"["care-manager", "offline"]"#)), [Role::ServiceManager]);
        // The suite's own names are nobody's any more, and another claim says nothing.
        assert_eq!(roles(&mapped, &with(r#"["service_manager"]"#)), []);
        assert_eq!(roles(&mapped, r#""sub": "staff-7", "roles": ["boss"]"#), []);
        // A subject has its role without a word of its token.
        assert_eq!(roles(&mapped, r#""sub": "workshop-1""#), [Role::AfterSales]);
        assert!(Mapping::new(&mapped).caller(&claims(&with(r#""boss""#))).is_none(), "no list");
    }

    #[test]
    fn a_subject_that_is_no_callers_is_refused() {
        let caller = |config: &IssuerConfig, sub: &str| {
            let sub = serde_json::Value::from(sub);
            Mapping::new(config).caller(&claims(&format!(r#""sub": {sub}"#)))
        };
        let long = "a".repeat(256);
        for sub in ["", "coordinator", "internal", "customer", "two words", "newline\n", "ünï", long.as_str()]
        {
            assert!(caller(&config(), sub).is_none(), "{sub:?}");
        }
        for sub in ["staff-7", "system:serviceaccount:shop:import", "auth0|5f7", "coordinator2"] {
            assert!(caller(&config(), sub).is_some(), "{sub:?}");
        }
        // The prefix makes a reserved word somebody's own.
        let prefixed = IssuerConfig { prefix: "staff:".to_owned(), ..config() };
        assert_eq!(&*caller(&prefixed, "coordinator").unwrap().subject, "staff:coordinator");
    }
}
