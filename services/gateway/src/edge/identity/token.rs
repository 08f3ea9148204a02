//! What a token says.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What the issuer's clock and ours may differ by, seconds.
const LEEWAY: i64 = 5;

/// How a token claims to be signed.
pub(super) struct Head {
    pub key: String,
    pub algorithm: Algorithm,
}

/// Who claims to have issued the token. Nothing is known of it yet: this only tells whose keys it is to be checked by.
pub(super) fn issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claimed {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Claimed>(token).ok().map(|claimed| claimed.iss)
}

/// The token's header; `None` when it asks for anything that is not done here. Keys that the header brings along, or
/// says the address of (`jwk`, `jku`, `x5u`, `x5c`), are not even read.
pub(super) fn head(token: &str) -> Option<Head> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let kind = header.typ.as_deref().unwrap_or("JWT");
    let plain = (kind.eq_ignore_ascii_case("JWT") || kind.eq_ignore_ascii_case("at+jwt"))
        // Whatever must be understood is not understood here (RFC 7515, 4.1.11).
        && header.crit.is_none()
        && header.enc.is_none()
        && header.zip.is_none();
    Some(Head { key: header.kid.filter(|_| plain)?, algorithm: header.alg })
}

/// The claims that the suite reads.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    /// One issuer: a list of them, which the library would take, is none.
    #[serde(rename = "iss")]
    _issuer: String,
    pub sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Claims {
    /// The claims, if the signature, the issuer and the audience are right. Times are for [`Self::validity`]: the library
    /// reads a clock of its own.
    pub fn verified(
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
        issuer: &str,
        audience: &str,
    ) -> Option<Self> {
        // One algorithm, which the key's and the issuer's configuration have agreed on (RFC 8725, 3.1).
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        jsonwebtoken::decode(token, key, &validation).ok().map(|data| data.claims)
    }

    /// From when until when the token may be used; `None` when the times are none.
    pub fn validity(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let mut not_before = DateTime::UNIX_EPOCH;
        for seconds in [self.nbf, self.iat].into_iter().flatten() {
            not_before = not_before.max(time(seconds, -LEEWAY)?);
        }
        Some((not_before, time(self.exp, LEEWAY)?))
    }

    /// The names in the claim with this name, or, where there is none, in the claim that its dots lead to. No claim: no
    /// names; `None` when there is something else than a list of names.
    pub fn names(&self, claim: &str) -> Option<Vec<&str>> {
        let mut found = self.others.get(claim);
        if found.is_none() {
            let (first, rest) = claim.split_once('.').unwrap_or((claim, ""));
            found = self.others.get(first);
            for part in rest.split('.').filter(|part| !part.is_empty()) {
                found = found.and_then(|value| value.get(part));
            }
        }
        let Some(found) = found else {
            return Some(Vec::new());
        };
        found.as_array()?.iter().map(Value::as_str).collect()
    }
}

/// A NumericDate (RFC 7519, 2): seconds since the epoch, with or without a fraction.
fn time(seconds: f64, shift: i64) -> Option<DateTime<Utc>> {
    /// The year 9999; beyond it nobody means a date.
    const LAST: f64 = 253_402_300_799.0;
    (0.0..=LAST).contains(&seconds).then(|| DateTime::from_timestamp(seconds as i64 + shift, 0))?
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn claims(json: &str) -> Claims {
        serde_json::from_str(&format!(r#"{{"iss": "issuer", "exp": 10, {json}}}"#)).unwrap()
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for none in [f64::NAN, f64::INFINITY, -1.0, 1e18] {
            let base = || claims(r#""sub": "a""#);
            assert!(Claims { exp: none, ..base() }.validity().is_none(), "{none}");
            assert!(Claims { nbf: Some(none), ..base() }.validity().is_none(), "{none}");
            assert!(Claims { iat: Some(none), ..base() }.validity().is_none(), "{none}");
        }
    }

    #[test]
    fn names_are_found_by_the_whole_name_or_by_its_dots() {
        let claims = claims(
            r#""sub": "a", "roles": ["x"], "https://a.example/roles": ["y"], "realm": {"deep": {"roles": ["z", "x"]}},
               "text": "x", "mixed": ["x", 1], "empty": []"#,
        );
        assert_eq!(claims.names("roles").unwrap(), ["x"]);
        assert_eq!(claims.names("https://a.example/roles").unwrap(), ["y"]);
        assert_eq!(claims.names("realm.deep.roles").unwrap(), ["z", "x"]);
        for none in ["empty", "absent", "realm.absent.roles", "roles.deep", "text.deep"] {
            assert_eq!(claims.names(none), Some(Vec::new()), "{none}");
        }
        for wrong in ["text", "mixed", "realm", "realm.deep"] {
            assert_eq!(claims.names(wrong), None, "{wrong}");
        }
    }
}
