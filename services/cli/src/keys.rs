//! Development's keys. Production's keys for tokens belong to its identity provider; those for passes are made by
//! whoever installs the suite.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;

/// The id of the key for tokens, in tokens and in the key set.
pub const KEY_ID: &str = "development";

/// Makes two pairs in `folder` and keeps a pair that is there: `signing.pem` and `jwks.json` for bearer tokens,
/// `pass-signing.pem` and `pass-keys.pem` for what the suite's processes show each other.
pub fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    pair(folder, "signing.pem", "jwks.json", |key| {
        let set = serde_json::json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID,
            "x": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        }] });
        Ok(serde_json::to_string_pretty(&set)?)
    })?;
    pair(folder, "pass-signing.pem", "pass-keys.pem", |key| {
        key.verifying_key().to_public_key_pem(LineEnding::LF).context("the key cannot be written as PEM")
    })
}

fn pair(
    folder: &Path,
    private: &str,
    public: &str,
    text: impl FnOnce(&SigningKey) -> Result<String>,
) -> Result<()> {
    let (private, public) = (folder.join(private), folder.join(public));
    if private.exists() && public.exists() {
        return Ok(());
    }
    let key = SigningKey::from_bytes(&rand::random());
    let pem = key.to_pkcs8_pem(LineEnding::LF).context("the key cannot be written as PEM")?;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&private)
        .with_context(|| format!("cannot write {}", private.display()))?;
    file.write_all(pem.as_bytes())?;
    // Last: a pair is complete when its public half is there.
    fs::write(&public, text(&key)?).with_context(|| format!("cannot write {}", public.display()))
}
