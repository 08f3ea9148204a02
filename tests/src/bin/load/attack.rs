//! Harm, beside which the generator's honest calls are measured.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cqm_rpc::BoxError;
use cqm_tests::attack::{self, Attack};
use futures::future::join_all;

/// Between a connection that the server has ended and the next one. Without it the attacker's own connecting would take
/// the cores that it shares with what is measured.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Args)]
pub struct Options {
    /// What harm is meant
    #[arg(value_parser = kind)]
    attack: Attack,
    #[arg(long)]
    address: String,
    /// A file with a bearer token
    #[arg(long)]
    token: PathBuf,
    /// Attackers at a time, each with a connection
    #[arg(long, default_value_t = 1)]
    connections: usize,
}

fn kind(text: &str) -> Result<Attack, String> {
    let known = Attack::ALL.iter().find(|(name, _)| *name == text).map(|(_, attack)| *attack);
    known.ok_or_else(|| Attack::ALL.map(|(name, _)| name).join(", "))
}

/// Goes on until killed.
pub fn go_on(options: &Options) -> Result<(), BoxError> {
    attack::take_all_descriptors()?;
    let token = fs::read_to_string(&options.token)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(join_all(
        (0..options.connections).map(|_| options.attack.go_on(&options.address, token.trim(), PAUSE)),
    ));
    Ok(())
}
