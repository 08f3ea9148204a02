//! `cqm`: the suite from the command line. Tokens and keys for development, the policy table, imports, erasures' reports,
//! what the coordinator could not do, and the demo.
//!
//! It talks to the gateway as any other client does, over gRPC with a bearer token.

#![allow(clippy::print_stdout, reason = "a command's result belongs on stdout")]

mod connect;
mod demo;
mod erasure;
mod import;
mod keys;
mod policy;
mod reactions;
mod token;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cqm_runtime::tls::{ClientTls, ClientTlsConfig};

use crate::connect::Target;

#[derive(Parser)]
#[command(name = "cqm", version, about = "The CQM suite from the command line")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the keys of a suite for development: for its tokens, and for what its processes show each other
    DevKeys {
        /// The folder that gets signing.pem and jwks.json, pass-signing.pem and pass-keys.pem
        folder: PathBuf,
    },
    /// Print a bearer token that is signed with development's key
    Token(token::Options),
    /// Print who may call which method, and who sees which personal data
    Policy,
    /// Bring a file in, row by row, through the gateway
    Import {
        #[arg(value_enum)]
        what: What,
        /// The file; see --format
        file: PathBuf,
        /// How the file is written
        #[arg(long, value_enum, default_value = "csv")]
        format: import::Format,
        /// Where rejected rows go, with their reasons [default: FILE.rejected.csv]
        #[arg(long)]
        rejected: Option<PathBuf>,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Erasures of customers: how far they have got, and their signed reports
    Erasure {
        #[command(subcommand)]
        action: erasure::Action,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// What the coordinator could not do: look at it, have it tried again, leave it out
    Reactions {
        #[command(subcommand)]
        action: reactions::Action,
        #[command(flatten)]
        target: TargetOptions,
    },
    /// Real purchases in, one customer's closed loop, the result on the screen
    Demo {
        /// The CDNOW sample
        #[arg(long)]
        data: PathBuf,
        /// Where the suite leaves its mails
        #[arg(long)]
        mail: PathBuf,
        #[command(flatten)]
        target: TargetOptions,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Customers,
    Purchases,
}

/// Which suite, and as whom.
#[derive(Args)]
struct TargetOptions {
    /// The gateway's address: host:port, or https://host:port for TLS
    #[arg(long, env = "CQM_ADDRESS", default_value = "127.0.0.1:50050", global = true)]
    address: String,
    /// The authority that the gateway's certificate is believed by, PEM [default: those that the machine trusts]
    #[arg(long, env = "CQM_CA", global = true)]
    ca: Option<PathBuf>,
    /// The certificate to show to a gateway that asks for one, PEM
    #[arg(long, env = "CQM_CERT", requires = "cert_key", global = true)]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "CQM_CERT_KEY", requires = "cert", global = true)]
    cert_key: Option<PathBuf>,
    /// The key that signs this command's own tokens
    #[arg(long, env = "CQM_KEY", default_value = ".dev/keys/signing.pem", global = true)]
    key: PathBuf,
    /// The role in those tokens
    #[arg(long, default_value = "service_manager", value_parser = token::role, global = true)]
    role: cqm_rpc::Role,
}

impl TargetOptions {
    fn target(&self) -> Result<Target> {
        // Whoever names files of TLS wants TLS.
        let wanted = self.ca.is_some() || self.cert.is_some();
        let tls = wanted.then(|| {
            let (ca, certificate, key) = (self.ca.clone(), self.cert.clone(), self.cert_key.clone());
            ClientTls::from(ClientTlsConfig { ca, certificate, key, ..ClientTlsConfig::default() })
        });
        Target::new(&self.address, tls, &self.key, self.role)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cqm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::DevKeys { folder } => keys::make(&folder),
        Command::Token(options) => token::print(&options),
        Command::Policy => match std::io::stdout().write_all(policy::tables().as_bytes()) {
            // Whoever reads it has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            outcome => Ok(outcome?),
        },
        Command::Import { what, file, format, rejected, target } => {
            let rejected = rejected.unwrap_or_else(|| {
                let mut name = file.clone().into_os_string();
                name.push(".rejected.csv");
                name.into()
            });
            let target = target.target()?;
            let summary = match what {
                What::Customers => import::customers(&target, &file, format, &rejected).await?,
                What::Purchases => import::purchases(&target, &file, format, &rejected).await?,
            };
            println!("{}", summary.sentence(&rejected));
            anyhow::ensure!(summary.rejected == 0, "{} rows were rejected", summary.rejected);
            Ok(())
        }
        Command::Erasure { action, target } => erasure::run(|| target.target(), action).await,
        Command::Reactions { action, target } => reactions::run(&target.target()?, action).await,
        Command::Demo { data, mail, target } => demo::run(&target.target()?, &data, &mail).await,
    }
}
