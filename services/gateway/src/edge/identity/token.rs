//! What a token says, and what of it is believed.

use chrono::{DateTime, Utc};
use cqm_rpc::{Caller, Role, role_from_name};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::config::{IssuerConfig, RESERVED_SUBJECTS};

/// The one algorithm, whatever a token's header asks for (RFC 8725, 3.1).
const ALGORITHM: Algorithm = Algorithm::EdDSA;
/// What the issuer's clock and ours may differ by, seconds.
const LEEWAY: i64 = 5;
const MAX_SUBJECT: usize = 255;

/// The claims that the suite reads.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// One issuer: a list of them, which the library would take, is none.
    #[serde(rename = "iss")]
    _issuer: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    roles: Vec<String>,
}

/// The id of the key that the token claims to be signed by. `None` when the header asks for anything that is not ours.
pub(super) fn key_id(token: &str) -> Option<String> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let kind = header.typ.as_deref().unwrap_or("JWT");
    let plain = header.alg == ALGORITHM
        && (kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt"))
        // Whatever must be understood is not understood here (RFC 7515, 4.1.11).
        && header.crit.is_none()
        && header.enc.is_none()
        && header.zip.is_none();
    header.kid.filter(|_| plain)
}

impl Claims {
    /// The claims, if the signature, the issuer and the audience are right. Times are for [`Self::validity`]: the library
    /// reads a clock of its own.
    pub fn verified(token: &str, key: &DecodingKey, issuer: &IssuerConfig) -> Option<Self> {
        let mut validation = Validation::new(ALGORITHM);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&[&issuer.audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        jsonwebtoken::decode(token, key, &validation).ok().map(|data| data.claims)
    }

    /// From when until when the token may be used; `None` when the times are none.
    pub fn validity(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let not_before = match self.nbf {
            Some(seconds) => time(seconds, -LEEWAY)?,
            None => DateTime::UNIX_EPOCH,
        };
        Some((not_before, time(self.exp, LEEWAY)?))
    }

    /// The caller, with those of the roles that the issuer may give.
    pub fn caller(self, issuer: &IssuerConfig) -> Option<Caller> {
        let subject = format!("{}{}", issuer.prefix, self.sub);
        // It becomes a header's value and the owner of request ids.
        let sound = !self.sub.is_empty()
            && subject.len() <= MAX_SUBJECT
            && subject.bytes().all(|byte| byte.is_ascii_graphic())
            && !RESERVED_SUBJECTS.contains(&subject.as_str());
        let mut roles: Vec<Role> = self
            .roles
            .iter()
            .filter_map(|name| role_from_name(name))
            .filter(|role| match role {
                Role::Unspecified | Role::Coordinator | Role::Customer => false,
                Role::InternalService => issuer.internal_service,
                _ => true,
            })
            .collect();
        roles.sort_unstable();
        roles.dedup();
        sound.then(|| Caller { subject: subject.into(), roles })
    }
}

/// A NumericDate (RFC 7519, 2): seconds since the epoch, with or without a fraction.
fn time(seconds: f64, shift: i64) -> Option<DateTime<Utc>> {
    /// The year 9999; beyond it nobody means a date.
    const LAST: f64 = 253_402_300_799.0;
    (0.0..=LAST).contains(&seconds).then(|| DateTime::from_timestamp(seconds as i64 + shift, 0))?
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn issuer(internal_service: bool) -> IssuerConfig {
        IssuerConfig {
            issuer: "issuer".to_owned(),
            audience: "cqm".to_owned(),
            jwks: PathBuf::new(),
            prefix: String::new(),
            internal_service,
        }
    }

    fn claims(sub: &str, roles: &[&str]) -> Claims {
        Claims {
            _issuer: "issuer".to_owned(),
            sub: sub.to_owned(),
            exp: 10.0,
            nbf: None,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }
    }

    #[test]
    fn system_roles_are_not_the_issuers_to_give() {
        let all = ["supervisor", "internal_service", "coordinator", "customer", "root", "supervisor"];
        let roles = |allowed| claims("staff-7", &all).caller(&issuer(allowed)).unwrap().roles;
        assert_eq!(roles(false), [Role::Supervisor]);
        assert_eq!(roles(true), [Role::Supervisor, Role::InternalService]);
    }

    #[test]
    fn a_subject_that_is_no_callers_is_refused() {
        let long = "a".repeat(256);
        for sub in ["", "coordinator", "internal", "customer", "two words", "newline\n", "ünï", long.as_str()]
        {
            assert!(claims(sub, &[]).caller(&issuer(false)).is_none(), "{sub:?}");
        }
        for sub in ["staff-7", "system:serviceaccount:shop:import", "auth0|5f7", "coordinator2"] {
            assert!(claims(sub, &[]).caller(&issuer(false)).is_some(), "{sub:?}");
        }
        // The prefix makes a reserved word somebody's own.
        let prefixed = IssuerConfig { prefix: "staff:".to_owned(), ..issuer(false) };
        assert_eq!(&*claims("coordinator", &[]).caller(&prefixed).unwrap().subject, "staff:coordinator");
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for exp in [f64::NAN, f64::INFINITY, -1.0, 1e18] {
            assert!(Claims { exp, ..claims("a", &[]) }.validity().is_none(), "{exp}");
            assert!(Claims { nbf: Some(exp), ..claims("a", &[]) }.validity().is_none(), "{exp}");
        }
    }
}
