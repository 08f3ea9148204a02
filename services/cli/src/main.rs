//! `cqm`: the suite from the command line. Tokens and keys for development, imports, and the demo.
//!
//! It talks to the gateway as any other client does, over gRPC with a bearer token.

#![allow(clippy::print_stdout, reason = "a command's result belongs on stdout")]

mod connect;
mod demo;
mod import;
mod keys;
mod token;

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
    /// Make development's signing key and the key set that the gateway checks tokens against
    DevKeys {
        /// The folder that gets signing.pem and jwks.json
        folder: PathBuf,
    },
    /// Print a bearer token that is signed with development's key
    Token(token::Options),
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
    #[arg(long, env = "CQM_ADDRESS", default_value = "127.0.0.1:50050")]
    address: String,
    /// The authority that the gateway's certificate is believed by, PEM [default: those that the machine trusts]
    #[arg(long, env = "CQM_CA")]
    ca: Option<PathBuf>,
    /// The certificate to show to a gateway that asks for one, PEM
    #[arg(long, env = "CQM_CERT", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "CQM_CERT_KEY", requires = "cert")]
    cert_key: Option<PathBuf>,
    /// The key that signs this command's own tokens
    #[arg(long, env = "CQM_KEY", default_value = ".dev/keys/signing.pem")]
    key: PathBuf,
    /// The role in those tokens
    #[arg(long, default_value = "service_manager", value_parser = token::role)]
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
        Command::Demo { data, mail, target } => demo::run(&target.target()?, &data, &mail).await,
    }
}
