//! An issuer of tokens with keys of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use cqm_gateway::config::{IdentityConfig, IssuerConfig};
use cqm_rpc::{Role, role_name};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ISSUER: &str = "https://login.example.com";
pub const AUDIENCE: &str = "cqm";

/// A key pair with an id.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub pair: SigningKey,
}

impl Key {
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), pair: SigningKey::from_bytes(&rand::random()) }
    }

    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.verifying_key().as_bytes())
    }

    pub fn private(&self) -> EncodingKey {
        EncodingKey::from_ed_der(self.pair.to_pkcs8_der().unwrap().as_bytes())
    }

    pub fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id, "x": self.public()})
    }
}

/// A key whose pair was made once: making one takes longer than the tests.
pub struct Fixed {
    pub id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl Fixed {
    /// RSA, 2048 bits.
    pub fn rsa(id: &'static str, algorithm: Algorithm) -> Self {
        let private = EncodingKey::from_rsa_pem(include_bytes!("../keys/rsa.pem")).unwrap();
        Self { id, algorithm, private }
    }

    /// On P-256.
    pub fn ec(id: &'static str) -> Self {
        let private = EncodingKey::from_ec_pem(include_bytes!("../keys/ec.pem")).unwrap();
        Self { id, algorithm: Algorithm::ES256, private }
    }

    /// Without an algorithm, as Kubernetes and others publish it.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// An issuer whose key set lies in a file.
pub struct Issuer {
    pub key: Key,
    folder: TempDir,
}

impl Issuer {
    pub fn new() -> Self {
        let issuer = Self { key: Key::new("key-1"), folder: TempDir::new().unwrap() };
        issuer.publish(&[&issuer.key]);
        issuer
    }

    /// Writes the key set.
    pub fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.write(json!({ "keys": keys }).to_string().as_bytes());
    }

    pub fn write(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    /// The file of the key set.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    /// The gateway's configuration for this issuer alone.
    pub fn trusted(&self) -> IdentityConfig {
        let issuer =
            IssuerConfig { internal_service: true, ..IssuerConfig::of_file(ISSUER, AUDIENCE, self.path()) };
        IdentityConfig {
            issuers: BTreeMap::from([("staff".to_owned(), issuer)]),
            ..IdentityConfig::default()
        }
    }

    /// A good token.
    pub fn token(&self, now: DateTime<Utc>, roles: &[Role]) -> String {
        self.sign(&claims(now, roles))
    }

    pub fn sign(&self, claims: &Value) -> String {
        sign(&self.key, &header(&self.key), claims)
    }
}

/// The claims of a good token.
pub fn claims(now: DateTime<Utc>, roles: &[Role]) -> Value {
    let roles: Vec<&str> = roles.iter().map(|role| role_name(*role)).collect();
    let now = now.timestamp();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "staff-7", "nbf": now, "exp": now + 3600, "roles": roles})
}

pub fn header(key: &Key) -> Header {
    Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::EdDSA) }
}

pub fn sign(key: &Key, header: &Header, claims: &Value) -> String {
    jsonwebtoken::encode(header, claims, &key.private()).unwrap()
}

/// A token with this header, signed over exactly these bytes: what a library would not write.
pub fn sign_raw(key: &Key, header: &Value, claims: &Value) -> String {
    use ed25519_dalek::Signer;
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(message.as_bytes()).to_bytes());
    format!("{message}.{signature}")
}

/// A part of a token.
pub fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
