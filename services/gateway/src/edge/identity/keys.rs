//! An issuer's public keys, as a JSON Web Key Set tells them.

use std::collections::HashMap;

use cqm_rpc::BoxError;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Shorter RSA keys can be broken (RFC 7518, 3.3).
const MIN_RSA_BITS: usize = 2048;
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Keys by their ids. A key without an id is nobody's: tokens say which key they are signed by.
#[derive(Debug)]
pub(super) struct Keys(HashMap<String, Key>);

#[derive(Debug)]
struct Key {
    key: DecodingKey,
    /// What it may be used with: never more than its own kind, whatever a token asks for.
    algorithms: Vec<Algorithm>,
}

impl Keys {
    /// Reads a set. Keys of other kinds, for other purposes or too short are left out; a set that nobody would publish on
    /// purpose is refused.
    pub fn parse(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, BoxError> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        let set: KeySet = serde_json::from_slice(bytes)?;
        let mut keys = HashMap::new();
        for value in set.keys {
            // What cannot even be read is of a kind that was invented later.
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
                continue;
            };
            if jwk.d.is_some() || jwk.k.is_some() {
                return Err("holds a secret key, which belongs to the issuer alone".into());
            }
            let Some(id) = jwk.kid.clone() else {
                continue;
            };
            let Some(key) = jwk.key(allowed).map_err(|problem| format!("the key {id}: {problem}"))? else {
                continue;
            };
            if keys.insert(id.clone(), key).is_some() {
                return Err(format!("has the key {id} twice").into());
            }
        }
        if keys.is_empty() {
            return Err("has no key with an id for one of the algorithms".into());
        }
        Ok(Self(keys))
    }

    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub fn find(&self, id: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.0.get(id).filter(|key| key.algorithms.contains(&algorithm)).map(|key| &key.key)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// As much of RFC 7517 as public keys need.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    intended: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl Jwk {
    /// The key, unless it is for something else.
    fn key(self, allowed: &[Algorithm]) -> Result<Option<Key>, BoxError> {
        let checks = self.intended.as_deref().is_none_or(|intended| intended == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|one| one == "verify"));
        let kind: &[Algorithm] = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
            ("EC", Some("P-256")) => &[Algorithm::ES256],
            ("EC", Some("P-384")) => &[Algorithm::ES384],
            ("RSA", None) => &RSA,
            _ => &[],
        };
        let own = |one: &&Algorithm| self.alg.as_ref().is_none_or(|alg| alg.parse() == Ok(**one));
        let algorithms: Vec<_> =
            kind.iter().filter(|one| allowed.contains(one)).filter(own).copied().collect();
        if algorithms.is_empty() || !checks {
            return Ok(None);
        }
        let part = |part: Option<String>| part.ok_or("lacks a part");
        // The library believes every length.
        let sized = |key: DecodingKey, length: usize| match key.try_get_as_bytes()?.len() == length {
            true => Ok::<_, BoxError>(key),
            false => Err("has parts of the wrong length".into()),
        };
        let key = match algorithms[0] {
            Algorithm::EdDSA => sized(DecodingKey::from_ed_components(&part(self.x)?)?, 32)?,
            Algorithm::ES256 => sized(DecodingKey::from_ec_components(&part(self.x)?, &part(self.y)?)?, 65)?,
            Algorithm::ES384 => sized(DecodingKey::from_ec_components(&part(self.x)?, &part(self.y)?)?, 97)?,
            _ => {
                let key = DecodingKey::from_rsa_components(&part(self.n)?, &part(self.e)?)?;
                let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind() else {
                    return Err("is no RSA key".into());
                };
                if bits(n) < MIN_RSA_BITS {
                    return Ok(None);
                }
                key
            }
        };
        Ok(Some(Key { key, algorithms }))
    }
}

/// Without leading zeros.
fn bits(number: &[u8]) -> usize {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let rest = &number[first..];
    rest.len() * 8 - rest.first().map_or(0, |byte| byte.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::config::Words;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn parse(json: &str) -> Result<Keys, String> {
        let allowed = Words::<Algorithm>::default().0;
        Keys::parse(json.as_bytes(), &allowed).map_err(|error| error.to_string())
    }

    fn ids(json: &str) -> Vec<String> {
        let mut ids: Vec<_> = parse(json).unwrap().0.into_keys().collect();
        ids.sort();
        ids
    }

    /// A modulus of this many bits; nobody multiplies with it here.
    fn modulus(bits: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xff; bits / 8])
    }

    #[test]
    fn only_public_signing_keys_with_an_id_are_taken() {
        let (long, short) = (modulus(2048), modulus(1024));
        let set = format!(
            r#"{{"keys": [
                {{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "{X}"}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "{X}", "alg": "EdDSA", "use": "sig"}},
                {{"kty": "EC", "crv": "P-256", "kid": "c", "x": "{X}", "y": "{X}", "key_ops": ["verify"]}},
                {{"kty": "RSA", "kid": "d", "n": "{long}", "e": "AQAB"}},
                {{"kty": "OKP", "crv": "Ed25519", "x": "{X}"}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "enc", "x": "{X}", "use": "enc"}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "wrap", "x": "{X}", "key_ops": ["wrapKey"]}},
                {{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "{X}"}},
                {{"kty": "EC", "crv": "secp256k1", "kid": "coin", "x": "{X}", "y": "{X}"}},
                {{"kty": "RSA", "kid": "short", "n": "{short}", "e": "AQAB"}},
                {{"kty": "RSA", "kid": "oaep", "n": "{long}", "e": "AQAB", "alg": "RSA-OAEP"}},
                {{"kty": "RSA", "kid": "not-allowed", "n": "{long}", "e": "AQAB", "alg": "RS512"}},
                {{"kty": "AKP", "kid": "later", "pub": 1, "alg": ["ML-DSA-44"]}}
            ]}}"#
        );
        assert_eq!(ids(&set), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_key_is_used_with_its_own_kind_of_algorithm_and_with_the_one_that_it_names() {
        let long = modulus(2048);
        let set = format!(
            r#"{{"keys": [
                {{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "{X}"}},
                {{"kty": "RSA", "kid": "any", "n": "{long}", "e": "AQAB"}},
                {{"kty": "RSA", "kid": "one", "n": "{long}", "e": "AQAB", "alg": "PS256"}}
            ]}}"#
        );
        let keys = parse(&set).unwrap();
        let with = |id: &str| -> Vec<Algorithm> {
            let all = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::HS256].into_iter().chain(RSA);
            all.filter(|algorithm| keys.find(id, *algorithm).is_some()).collect()
        };
        assert_eq!(with("ed"), [Algorithm::EdDSA]);
        assert_eq!(with("any"), [Algorithm::RS256, Algorithm::PS256]);
        assert_eq!(with("one"), [Algorithm::PS256]);
    }

    #[test]
    fn a_set_that_cannot_be_right_is_refused() {
        let key = format!(r#"{{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "{X}"}}"#);
        let curve = format!(r#"{{"kty": "EC", "crv": "P-384", "kid": "a", "x": "{X}", "y": "{X}"}}"#);
        for (set, problem) in [
            ("".to_owned(), "EOF"),
            (r#"{"keys": []}"#.to_owned(), "no key"),
            (format!(r#"{{"keys": [{key}, {key}]}}"#), "twice"),
            (format!(r#"{{"keys": [{}]}}"#, key.replace(X, "AQAB")), "wrong length"),
            (
                format!(r#"{{"keys": [{}]}}"#, curve.replace("384", "256").replacen(X, "AQAB", 1)),
                "wrong length",
            ),
            (format!(r#"{{"keys": [{}]}}"#, key.replace(X, "not base64!")), "the key a"),
            (format!(r#"{{"keys": [{}]}}"#, key.replace(r#", "x""#, r#", "z""#)), "lacks a part"),
            (format!(r#"{{"keys": [{}]}}"#, key.replace('}', r#", "d": "AQAB"}"#)), "secret key"),
            (r#"{"keys": [{"kty": "oct", "kid": "a", "k": "AQAB"}]}"#.to_owned(), "secret key"),
            // Not one of the algorithms that the configuration names.
            (format!(r#"{{"keys": [{curve}]}}"#), "no key"),
        ] {
            let error = parse(&set).expect_err(&set);
            assert!(error.contains(problem), "{set}: {error}");
        }
    }
}
