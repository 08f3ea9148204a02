//! Development's key pair. Production's keys belong to its identity provider.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

/// The key's id in tokens and in the key set.
pub const KEY_ID: &str = "development";

/// Makes `signing.pem` and `jwks.json` in `folder`; keeps a pair that is there.
pub fn make(folder: &Path) -> Result<()> {
    let (private, public) = (folder.join("signing.pem"), folder.join("jwks.json"));
    if private.exists() && public.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let key = SigningKey::from_bytes(&rand::random());
    let pem = key.to_pkcs8_pem(LineEnding::LF).context("the key cannot be written as PEM")?;
    let set = serde_json::json!({ "keys": [{
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID,
        "x": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
    }] });
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&private)
        .with_context(|| format!("cannot write {}", private.display()))?;
    file.write_all(pem.as_bytes())?;
    // Last: a pair is complete when the key set is there.
    fs::write(&public, serde_json::to_vec_pretty(&set)?)
        .with_context(|| format!("cannot write {}", public.display()))
}
