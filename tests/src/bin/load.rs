//! The load generator of `./scripts/bench`: one measurement a run, its figures as JSON on stdout. What is measured
//! beside what, and how often, is the script's business.

#![allow(clippy::print_stdout, reason = "a command's result belongs on stdout")]

// A binary's root looks for its modules beside itself, where Cargo would take each for a binary of its own.
#[path = "load/attack.rs"]
mod attack;
#[path = "load/calls.rs"]
mod calls;
#[path = "load/echo.rs"]
mod echo;
#[path = "load/figures.rs"]
mod figures;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/line.rs"]
mod line;
#[path = "load/measure.rs"]
mod measure;
#[path = "load/seed.rs"]
mod seed;
#[path = "load/sink.rs"]
mod sink;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cqm_rpc::BoxError;

use crate::calls::Work;
use crate::line::Head;
use crate::measure::Job;

#[derive(Parser)]
#[command(name = "load", about = "Load for ./scripts/bench")]
enum Command {
    /// Serve the bare echo that calls are compared with, until killed
    Echo {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Serve a collector that forgets what it is told, until killed
    Sink {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Do harm until killed
    Attack(attack::Options),
    /// Fill a service; prints what was made, one name a line
    #[command(subcommand)]
    Seed(Seed),
    /// Call as fast as answers come, and print figures
    Measure {
        #[arg(value_enum)]
        call: Call,
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        load: measure::Load,
    },
    /// Open connections that are used once and then idle, and print what a process's memory grows by
    Idle {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        connections: usize,
        /// The process
        #[arg(long)]
        watch: u32,
    },
}

#[derive(Subcommand)]
enum Seed {
    /// Customers, in the customer-data service
    Customers(SeedOptions),
    /// Members with some points, in the loyalty service
    Members(SeedOptions),
}

#[derive(Args)]
struct SeedOptions {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    count: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Call {
    Echo,
    GetCustomer,
    ImportCustomers,
    EarnPoints,
    RegisterComplaint,
}

/// Whom calls are about, at random.
#[derive(Clone, Copy, ValueEnum)]
enum Spread {
    /// Everybody as often as everybody else.
    Even,
    /// By Zipf's law, exponent 1: the second half as often as the first, the third a third as often.
    Zipf,
    /// The first and nobody else.
    One,
}

/// Whom to call, as whom, about whom.
#[derive(Args)]
struct Target {
    #[arg(long)]
    address: SocketAddr,
    /// Customers' names, one a line
    #[arg(long)]
    names: PathBuf,
    /// How calls are spread over the names
    #[arg(long, value_enum, default_value = "even")]
    spread: Spread,
    /// A file with a bearer token, for the gateway; without one it goes to a service itself, with a pass
    #[arg(long)]
    token: Option<PathBuf>,
    /// How large an answer the echo is asked for
    #[arg(long)]
    answer_bytes: Option<usize>,
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), BoxError> {
    match command {
        Command::Echo { listen } => echo::serve(listen),
        Command::Sink { listen } => sink::serve(listen),
        Command::Attack(options) => attack::go_on(&options),
        Command::Seed(seed) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let names = runtime.block_on(async {
                match seed {
                    Seed::Customers(options) => seed::customers(options.address, options.count).await,
                    Seed::Members(options) => seed::members(options.address, options.count).await,
                }
            })?;
            println!("{}", names.join("\n"));
            Ok(())
        }
        Command::Measure { call, target, load } => {
            println!("{}", measure::measure(&target.job(call)?, &load)?);
            Ok(())
        }
        Command::Idle { target, connections, watch } => {
            println!("{}", idle::grow(&target.job(Call::GetCustomer)?, connections, watch)?);
            Ok(())
        }
    }
}

impl Target {
    fn job(self, call: Call) -> Result<Job, BoxError> {
        let names = std::fs::read_to_string(&self.names)?;
        let token = self.token.map(std::fs::read_to_string).transpose()?;
        Ok(Job {
            address: self.address,
            head: Head::new(self.address, call.path(), token.as_deref(), call.service(), self.answer_bytes)?
                .into(),
            work: Work::new(call, self.spread, names.lines().map(str::to_owned).collect())?.into(),
        })
    }
}
