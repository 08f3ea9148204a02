//! Erasures of customers: how far they have got, their signed reports, and whether a report is what was signed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use cqm_proto::customers::v1::erasure_service_client::ErasureServiceClient;
use cqm_proto::customers::v1::{Erasure, GetErasureReportRequest, GetErasureRequest, GetReportKeysRequest};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

use crate::connect::Target;

#[derive(Subcommand)]
pub enum Action {
    /// How far an erasure has got, and what it waits for
    Show {
        /// The erasure, erasures/{uuid}: the customer's own id
        name: String,
    },
    /// Print the signed report of a finished erasure
    Report {
        /// The erasure, erasures/{uuid}
        name: String,
    },
    /// Print the public keys that reports are checked by, a JSON Web Key Set
    Keys,
    /// Check a report against keys that were got from whoever signed it; needs no suite
    Verify {
        /// The file with the report
        report: PathBuf,
        /// The file with the keys, as `keys` prints them
        #[arg(long)]
        keys: PathBuf,
    },
}

pub async fn run(target: impl FnOnce() -> Result<Target>, action: Action) -> Result<()> {
    if let Action::Verify { report, keys } = &action {
        println!("{}", verified(report, keys)?);
        return Ok(());
    }
    let mut service = ErasureServiceClient::new(target()?.client()?);
    match action {
        Action::Show { name } => {
            print!("{}", page(&service.get_erasure(GetErasureRequest { name }).await?.into_inner()));
        }
        Action::Report { name } => {
            let ask = GetErasureReportRequest { name };
            println!("{}", service.get_erasure_report(ask).await?.into_inner().report);
        }
        Action::Keys => {
            println!("{}", service.get_report_keys(GetReportKeysRequest {}).await?.into_inner().jwks)
        }
        Action::Verify { .. } => unreachable!("it was checked above"),
    }
    Ok(())
}

fn page(erasure: &Erasure) -> String {
    let word = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_owned();
    let state = word(erasure.state().as_str_name(), "STATE_");
    let mut page = format!("{} of {}: {state}\n", erasure.name, erasure.customer);
    for step in &erasure.steps {
        let mut receipt: Vec<String> =
            step.erased.iter().map(|(what, count)| format!("{count} {what}")).collect();
        receipt.sort();
        let detail = if step.blockers.is_empty() { receipt.join(", ") } else { step.blockers.join(", ") };
        let state = word(step.state().as_str_name(), "STATE_");
        page.push_str(&format!("  {}\t{state}\t{detail}\n", step.service));
    }
    page
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    kty: String,
    crv: String,
    x: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

/// What the report says, when one of the keys signed it.
fn verified(report: &Path, keys: &Path) -> Result<String> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (report, keys) = (read(report)?, read(keys)?);
    let keys: Keys = serde_json::from_str(&keys).context("the keys are no JSON Web Key Set")?;
    let claims = check(report.trim(), &keys)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).context("what was signed is no JSON")?;
    Ok(format!("{claims:#}"))
}

fn check(report: &str, keys: &Keys) -> Result<Vec<u8>> {
    let parts: Vec<&str> = report.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        bail!("the report is no JSON Web Signature");
    };
    let decoded =
        |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| anyhow!("the report is not base64url"));
    let head: Header = serde_json::from_slice(&decoded(header)?).context("the report's header is no JSON")?;
    // One algorithm: a report must not choose how it is checked.
    ensure!(head.alg == "EdDSA", "the report is signed by {} instead of EdDSA", head.alg);
    let key = keys.keys.iter().find(|key| key.kid == head.kid && key.kty == "OKP" && key.crv == "Ed25519");
    let key = key.with_context(|| format!("none of the keys is {}, which signed the report", head.kid))?;
    let public: [u8; 32] =
        decoded(&key.x)?.try_into().map_err(|_| anyhow!("a key has another length than 32 bytes"))?;
    let signature =
        Signature::from_slice(&decoded(signature)?).context("the signature has another length")?;
    VerifyingKey::from_bytes(&public)
        .context("a key is no point of the curve")?
        .verify_strict(format!("{header}.{claims}").as_bytes(), &signature)
        .map_err(|_| {
            anyhow!("the signature is not of this report: it has been altered, or another key signed it")
        })?;
    decoded(claims)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes()))
    }

    fn keys(key: &SigningKey) -> Keys {
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        Keys { keys: vec![Key { kid: "a".into(), kty: "OKP".into(), crv: "Ed25519".into(), x }] }
    }

    #[test]
    fn a_report_is_taken_only_as_it_was_signed() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let header = r#"{"alg":"EdDSA","kid":"a"}"#;
        let report = signed(&key, header, "{}");
        assert_eq!(check(&report, &keys(&key)).unwrap(), b"{}");
        assert!(check(&report, &keys(&other)).is_err());
        let parts: Vec<&str> = report.split('.').collect();
        let altered = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(r#"{"a":1}"#), parts[2]);
        assert!(check(&altered, &keys(&key)).is_err());
        for header in
            [r#"{"alg":"none","kid":"a"}"#, r#"{"alg":"HS256","kid":"a"}"#, r#"{"alg":"EdDSA","kid":"b"}"#]
        {
            assert!(check(&signed(&key, header, "{}"), &keys(&key)).is_err(), "{header}");
        }
        assert!(check("a.b", &keys(&key)).is_err());
    }
}
