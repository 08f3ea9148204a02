//! Signed reports of erasures: what was done, by whom, when, in a form that shows an altered byte.
//!
//! A JSON Web Signature in its compact form, EdDSA (RFC 8037) over the report as JSON. Of one erasure it is always the
//! same text: everything in it was written down when it happened.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cqm_rpc::ResourceName;
use ed25519_dalek::{Signer, SigningKey};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::customer::COLLECTION;
use crate::domain::erasure::Erasure;

/// Keeps a key that is used for something else as well from meaning the same here.
const CONTEXT: &[u8] = b"cqm erasure report";
const ISSUER: &str = "cqm/customer-data";

/// The keys of reports: the first signs, all are told. Without one, nothing is signed.
#[derive(Clone)]
pub struct ReportKeys(Vec<SigningKey>);

impl ReportKeys {
    pub fn of(keys: &[SecretString]) -> Self {
        let key = |key: &SecretString| {
            let seed = Sha256::new_with_prefix(CONTEXT).chain_update(key.expose_secret()).finalize();
            SigningKey::from_bytes(&seed.into())
        };
        Self(keys.iter().map(key).collect())
    }

    /// The report of a finished erasure; `None` without a key.
    pub fn sign(&self, erasure: &Erasure) -> Option<String> {
        let key = self.0.first()?;
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": id(key) });
        let signed = format!("{}.{}", encoded(&header), encoded(&claims(erasure)));
        let signature = key.sign(signed.as_bytes()).to_bytes();
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> String {
        let keys: Vec<Value> = self.0.iter().map(public).collect();
        json!({ "keys": keys }).to_string()
    }
}

impl std::fmt::Debug for ReportKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[keys]")
    }
}

fn claims(erasure: &Erasure) -> Value {
    let steps = erasure.steps.iter().map(|(holder, step)| {
        json!({
            "service": holder.name(),
            "time": step.time.to_rfc3339(),
            "records": step.receipt,
        })
    });
    let customer = ResourceName::new(COLLECTION, erasure.customer).to_string();
    json!({
        "iss": ISSUER,
        "sub": customer,
        "ground": erasure.ground.name(),
        "points_forfeited": erasure.forfeit_points,
        "requested_by": erasure.requester,
        "requested": erasure.create_time.to_rfc3339(),
        "finished": erasure.finish_time.map(|time| time.to_rfc3339()),
        "receipts": steps.collect::<Vec<_>>(),
    })
}

fn public(key: &SigningKey) -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id(key),
        "x": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
    })
}

/// A name of the key that tells nothing of it: the same wherever it is configured.
fn id(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(key.verifying_key().as_bytes())[..12])
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
