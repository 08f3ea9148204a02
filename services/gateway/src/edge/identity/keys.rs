//! An issuer's keys: a JSON Web Key Set in a file, read again when the file has changed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use cqm_rpc::BoxError;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::config::IssuerConfig;

/// Bytes of an Ed25519 public key.
const ED25519_BYTES: usize = 32;

/// One issuer with the keys that its file held last.
pub(super) struct IssuerKeys {
    config: IssuerConfig,
    reload: Duration,
    state: Mutex<State>,
}

struct State {
    keys: HashMap<String, Arc<DecodingKey>>,
    version: Version,
    looked: DateTime<Utc>,
}

/// What tells one content of a file from the next, without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    modified: SystemTime,
    length: u64,
}

impl IssuerKeys {
    pub fn read(config: IssuerConfig, reload: Duration, now: DateTime<Utc>) -> Result<Self, BoxError> {
        let refused = |problem: BoxError| format!("the key set {}: {problem}", config.jwks.display());
        let metadata = std::fs::metadata(&config.jwks).map_err(|error| refused(error.into()))?;
        let version = Version::of(&metadata).map_err(|error| refused(error.into()))?;
        let bytes = std::fs::read(&config.jwks).map_err(|error| refused(error.into()))?;
        let keys = parse(&bytes).map_err(refused)?;
        let state = Mutex::new(State { keys, version, looked: now });
        Ok(Self { config, reload, state })
    }

    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// The key with this id, from the file and from nowhere else.
    pub fn key(&self, id: &str) -> Option<Arc<DecodingKey>> {
        self.state().keys.get(id).cloned()
    }

    /// Looks at the file when it is time to; `true` when other keys are in force now. A file that cannot be used leaves
    /// the keys as they are: an editor's half-written file must not lock everybody out.
    pub async fn refresh(&self, now: DateTime<Utc>) -> bool {
        let known = {
            let mut state = self.state();
            if (now - state.looked).to_std().is_ok_and(|passed| passed < self.reload) {
                return false;
            }
            // Whoever comes first looks; the others go on with what is there.
            state.looked = now;
            state.version
        };
        match read_if_changed(&self.config.jwks, known).await {
            Ok(None) => false,
            Ok(Some((version, keys))) => {
                tracing::info!(
                    issuer = self.config.issuer,
                    keys = keys.len(),
                    "the issuer's keys have changed"
                );
                let mut state = self.state();
                state.keys = keys;
                state.version = version;
                true
            }
            Err(error) => {
                let (issuer, path) = (&self.config.issuer, self.config.jwks.display());
                tracing::error!(issuer, %path, %error, "the issuer's keys cannot be read");
                false
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Version {
    fn of(metadata: &std::fs::Metadata) -> std::io::Result<Self> {
        Ok(Self { modified: metadata.modified()?, length: metadata.len() })
    }
}

type Keys = HashMap<String, Arc<DecodingKey>>;

async fn read_if_changed(path: &Path, known: Version) -> Result<Option<(Version, Keys)>, BoxError> {
    let version = Version::of(&tokio::fs::metadata(path).await?)?;
    if version == known {
        return Ok(None);
    }
    Ok(Some((version, parse(&tokio::fs::read(path).await?)?)))
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

/// As much of RFC 7517 as Ed25519 needs. Keys of other kinds are left out.
#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    intended: Option<String>,
    d: Option<IgnoredAny>,
}

fn parse(bytes: &[u8]) -> Result<Keys, BoxError> {
    let set: KeySet = serde_json::from_slice(bytes)?;
    let mut keys = Keys::new();
    for key in set.keys {
        if key.d.is_some() {
            return Err("holds a private key, which belongs to the issuer alone".into());
        }
        let ours = key.kty == "OKP"
            && key.crv.as_deref() == Some("Ed25519")
            && key.alg.as_deref().is_none_or(|alg| alg == "EdDSA")
            && key.intended.as_deref().is_none_or(|intended| intended == "sig");
        let (true, Some(id), Some(x)) = (ours, key.kid, key.x) else {
            continue;
        };
        let decoding = DecodingKey::from_ed_components(&x)?;
        if decoding.try_get_as_bytes()?.len() != ED25519_BYTES {
            return Err(format!("the key {id} is no Ed25519 key").into());
        }
        if keys.insert(id.clone(), Arc::new(decoding)).is_some() {
            return Err(format!("has the key {id} twice").into());
        }
    }
    if keys.is_empty() {
        return Err("has no Ed25519 key with an id".into());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ids(json: &str) -> Result<Vec<String>, String> {
        let mut ids: Vec<_> =
            parse(json.as_bytes()).map_err(|error| error.to_string())?.into_keys().collect();
        ids.sort();
        Ok(ids)
    }

    #[test]
    fn only_ed25519_signing_keys_with_an_id_are_taken() {
        let set = format!(
            r#"{{"keys": [
                {{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "{X}"}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "{X}", "alg": "EdDSA", "use": "sig"}},
                {{"kty": "OKP", "crv": "Ed25519", "x": "{X}"}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "enc", "x": "{X}", "use": "enc"}},
                {{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "{X}"}},
                {{"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"}},
                {{"kty": "oct", "kid": "secret", "k": "AQAB"}}
            ]}}"#
        );
        assert_eq!(ids(&set).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_set_that_cannot_be_right_is_refused() {
        let key = format!(r#"{{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "{X}"}}"#);
        for (set, problem) in [
            ("".to_owned(), "EOF"),
            (r#"{"keys": []}"#.to_owned(), "no Ed25519 key"),
            (format!(r#"{{"keys": [{key}, {key}]}}"#), "twice"),
            (format!(r#"{{"keys": [{}]}}"#, key.replace(X, "AQAB")), "no Ed25519 key"),
            (format!(r#"{{"keys": [{}]}}"#, key.replace(X, "not base64!")), ""),
            (format!(r#"{{"keys": [{}]}}"#, key.replace("}", r#", "d": "AQAB"}"#)), "private key"),
        ] {
            let error = ids(&set).expect_err(&set);
            assert!(error.contains(problem), "{set}: {error}");
        }
    }
}
