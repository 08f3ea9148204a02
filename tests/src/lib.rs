//! What the tests over all services stand on: the suite as separate processes with servers of its own that may
//! be killed ([`Cluster`]), and a caller who does not give up ([`Caller`]).

pub mod attack;
mod balancer;
mod caller;
mod cluster;
mod collector;
pub mod customer;
mod gatehouse;
mod servers;
mod settled;

pub use balancer::Balancer;
pub use caller::{Bearer, Caller, again, channel};
pub use cluster::{Addresses, Cluster, Process, Site, gateway_configuration};
pub use collector::{Collector, Told};
pub use gatehouse::Gatehouse;
pub use servers::{Postgres, Redis, folder};
pub use settled::{parked, settled, sources};

use std::path::PathBuf;

/// A binary of the workspace, beside the tests' own.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("target/debug/deps/…");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}

/// Five services that own data: their binary's name and their database's.
pub const SERVICES: [(&str, &str); 5] = [
    ("complaints", "complaints"),
    ("customer-data", "customer_data"),
    ("loyalty", "loyalty"),
    ("notifications", "notifications"),
    ("surveys", "surveys"),
];
