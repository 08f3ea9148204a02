//! Development's bearer tokens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use cqm_rpc::{Clock, Role, role_from_name, role_name};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::keys::KEY_ID;

/// What the development gateway expects; production configures its own issuers.
const ISSUER: &str = "cqm-development";
const AUDIENCE: &str = "cqm";
const DEFAULT_MINUTES: u64 = 60;

#[derive(Args)]
pub struct Options {
    /// The role to carry; may be given several times
    #[arg(long = "role", required = true, value_parser = role)]
    roles: Vec<Role>,
    /// Who it is for [default: the first role's name]
    #[arg(long)]
    subject: Option<String>,
    /// How long it is good
    #[arg(long, default_value_t = DEFAULT_MINUTES)]
    minutes: u64,
    /// The key that signs it
    #[arg(long, env = "CQM_KEY", default_value = ".dev/keys/signing.pem")]
    key: PathBuf,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    roles: Vec<&'a str>,
}

/// Signs tokens with one key.
pub struct Signer(EncodingKey);

impl Signer {
    pub fn read(path: &Path) -> Result<Self> {
        let pem = std::fs::read(path).with_context(|| {
            format!("cannot read the signing key {}; ./scripts/dev up makes it", path.display())
        })?;
        Ok(Self(EncodingKey::from_ed_pem(&pem).context("the signing key is no Ed25519 key in PEM")?))
    }

    pub fn sign(&self, subject: &str, roles: &[Role], good_for: Duration) -> Result<String> {
        let now = Clock::system().now().timestamp();
        let exp = now + i64::try_from(good_for.as_secs()).context("too long")?;
        let roles = roles.iter().map(|role| role_name(*role)).collect();
        let claims = Claims { iss: ISSUER, aud: AUDIENCE, sub: subject, iat: now, nbf: now, exp, roles };
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.0).context("the token cannot be signed")
    }
}

pub fn print(options: &Options) -> Result<()> {
    let subject = options.subject.as_deref().unwrap_or(role_name(options.roles[0]));
    let good_for = Duration::from_secs(options.minutes * 60);
    println!("{}", Signer::read(&options.key)?.sign(subject, &options.roles, good_for)?);
    Ok(())
}

/// Reads a role's name as it stands in tokens.
pub fn role(name: &str) -> Result<Role, String> {
    role_from_name(name).ok_or_else(|| {
        let known: Vec<&str> = (1..).map_while(|n| Role::try_from(n).ok()).map(role_name).collect();
        format!("there is no such role; there are {}", known.join(", "))
    })
}
