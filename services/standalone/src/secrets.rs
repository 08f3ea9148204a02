//! The secrets that a suite on one machine makes for itself, once.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cqm_rpc::BoxError;
use serde::{Deserialize, Serialize};

/// Kept between runs: with a new `token_key` the links in mails already sent would stop working, and with a new
/// `voucher_key` the vouchers.
#[derive(Clone, Deserialize, Serialize)]
pub struct Secrets {
    /// Seals what stands in Redis.
    pub cache_key: String,
    /// Signs the links of invitations.
    pub token_key: String,
    /// Makes the codes of vouchers. Empty in a file from before there were any.
    #[serde(default)]
    pub voucher_key: String,
    /// Signs the reports of erasures. Empty in a file from before there were any.
    #[serde(default)]
    pub report_key: String,
}

impl Secrets {
    pub fn generate() -> Self {
        Self { cache_key: fresh(), token_key: fresh(), voucher_key: fresh(), report_key: fresh() }
    }

    /// Reads `secrets.json` of the folder, or makes it, readable by its owner alone.
    pub fn keep(folder: &Path) -> Result<Self, BoxError> {
        let path = folder.join("secrets.json");
        let mut secrets = Self::generate();
        let kept_or = |kept: String, fresh: String| if kept.is_empty() { fresh } else { kept };
        if path.exists() {
            let kept: Self = serde_json::from_slice(&fs::read(&path)?)?;
            if !kept.voucher_key.is_empty() && !kept.report_key.is_empty() {
                return Ok(kept);
            }
            secrets = Self {
                voucher_key: kept_or(kept.voucher_key, secrets.voucher_key),
                report_key: kept_or(kept.report_key, secrets.report_key),
                cache_key: kept.cache_key,
                token_key: kept.token_key,
            };
        }
        // Renamed into place: a crash in between leaves no half of it.
        let unfinished = folder.join("secrets.json.new");
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(&secrets)?)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        Ok(secrets)
    }
}

fn fresh() -> String {
    STANDARD.encode(rand::random::<[u8; 32]>())
}
