//! A closed loop: so many calls in flight, each followed by the next as soon as it is answered.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use cqm_rpc::BoxError;
use cqm_runtime::tasks::detached;
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tonic::Code;

use crate::calls::Work;
use crate::figures::Tally;
use crate::line::{Head, Line, RENEW};

/// How long the other side may take to answer its first call well.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the last calls may take once the window is over; longer than the suite's own deadline.
const LAST_CALLS: Duration = Duration::from_secs(15);
/// USER_HZ, in which Linux counts processes' time: 100 on all that the suite runs on.
const TICK: Duration = Duration::from_millis(10);

/// How the load looks.
#[derive(Args)]
pub struct Load {
    /// What is counted
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// What is not, before it
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// HTTP/2 connections that the calls are spread over
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Each call in flight is one stream, on which a message goes there and back in turns
    #[arg(long)]
    streams: bool,
    /// Wait as a refusal asks before the next call
    #[arg(long)]
    patient: bool,
    /// Milliseconds between the beginnings of two calls of one in flight; 0: as soon as it is answered
    #[arg(long, default_value_t = 0)]
    every: u64,
    /// Processes of the servers, whose time on the processors is counted
    #[arg(long)]
    watch: Vec<u32>,
}

/// Whom to call, and with what.
#[derive(Clone)]
pub struct Job {
    pub address: SocketAddr,
    pub head: Arc<Head>,
    pub work: Arc<Work>,
}

/// When calls count.
#[derive(Clone, Copy)]
struct Window {
    opens: Instant,
    closes: Instant,
}

impl Window {
    fn holds(self, moment: Instant) -> bool {
        self.opens <= moment && moment < self.closes
    }
}

/// Runs one measurement and returns its figures.
pub fn measure(job: &Job, load: &Load) -> Result<serde_json::Value, BoxError> {
    if load.connections == 0 || load.in_flight == 0 || !load.in_flight.is_multiple_of(load.connections) {
        return Err("every connection must carry the same number of calls".into());
    }
    runtime()?.block_on(probe(job))?;
    // One runtime a core, each with its share of the connections: nothing is handed from thread to thread.
    let threads = thread::available_parallelism()?.get().min(load.connections);
    let opens = Instant::now() + Duration::try_from_secs_f64(load.warmup)?;
    let window = Window { opens, closes: opens + Duration::try_from_secs_f64(load.seconds)? };
    thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|index| {
                let connections = (index..load.connections).step_by(threads).count();
                scope.spawn(move || runtime()?.block_on(share(job, load, connections, window)))
            })
            .collect();
        thread::sleep(window.opens.saturating_duration_since(Instant::now()));
        let before = Spent::now(&load.watch)?;
        thread::sleep(window.closes.saturating_duration_since(Instant::now()));
        let after = Spent::now(&load.watch)?;
        let mut tally = Tally::default();
        for share in shares {
            tally.add(share.join().map_err(|_| "a thread of the generator panicked")??);
        }
        let (servers, generator) = (after.servers - before.servers, after.generator - before.generator);
        Ok(tally.into_json(window.closes - window.opens, servers, generator))
    })
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Waits until one call is answered well, and looks at the answer.
async fn probe(job: &Job) -> Result<(), BoxError> {
    let started = Instant::now();
    loop {
        let refused: BoxError = match once(job).await {
            Ok(Code::Ok) => return Ok(()),
            Ok(code) => format!("the first call is answered {code:?}").into(),
            Err(error) => error,
        };
        if started.elapsed() > PATIENCE {
            return Err(format!("{}: {refused}", job.address).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn once(job: &Job) -> Result<Code, BoxError> {
    let (message, name) = job.work.next();
    let head = job.head.renewed().await?;
    let answer = Line::connect(job.address).await?.call(&head, message).await?;
    if answer.code == Code::Ok {
        job.work.check(name, &answer.body)?;
    }
    Ok(answer.code)
}

/// One thread's part: `calls` in flight on each of its connections, until the window closes.
async fn share(job: &Job, load: &Load, connections: usize, window: Window) -> Result<Tally, BoxError> {
    let calls = load.in_flight / load.connections;
    let mut workers = Vec::with_capacity(connections * calls);
    for _ in 0..connections {
        let line = Line::connect(job.address).await?;
        for _ in 0..calls {
            let (line, job) = (line.clone(), job.clone());
            workers.push(if load.streams {
                detached(talk(line, job, window))
            } else {
                detached(repeat(line, job, window, load.patient, Duration::from_millis(load.every)))
            });
        }
    }
    let limit = window.closes.saturating_duration_since(Instant::now()) + LAST_CALLS;
    let tallies = tokio::time::timeout(limit, try_join_all(workers))
        .await
        .map_err(|_| "calls are never answered")??;
    let mut sum = Tally::default();
    for tally in tallies {
        sum.add(tally?);
    }
    Ok(sum)
}

async fn repeat(
    mut line: Line,
    job: Job,
    window: Window,
    patient: bool,
    every: Duration,
) -> Result<Tally, BoxError> {
    let mut tally = Tally::default();
    let mut now = Instant::now();
    let (mut head, mut renewed) = (job.head.renewed().await?, now);
    while now < window.closes {
        if now - renewed >= RENEW {
            (head, renewed) = (job.head.renewed().await?, now);
        }
        let (message, _) = job.work.next();
        let begin = Instant::now();
        let answer = line.call(&head, message).await?;
        now = Instant::now();
        if window.holds(now) {
            match answer.code {
                Code::Ok if !answer.body.is_empty() => tally.good(now - begin),
                Code::Ok => tally.bad(Code::DataLoss),
                code => tally.bad(code),
            }
        }
        if let Some(pause) = answer.retry_after.filter(|_| patient) {
            tokio::time::sleep(pause).await;
            now = Instant::now();
        }
        let early = every.saturating_sub(begin.elapsed());
        if !early.is_zero() {
            tokio::time::sleep(early).await;
            now = Instant::now();
        }
    }
    Ok(tally)
}

/// One stream, on which a message goes there and back until the window closes.
async fn talk(mut line: Line, job: Job, window: Window) -> Result<Tally, BoxError> {
    let mut tally = Tally::default();
    let mut conversation = line.open(&job.head.renewed().await?).await?;
    let mut now = Instant::now();
    while now < window.closes {
        let (message, _) = job.work.next();
        let begin = Instant::now();
        let answered = conversation.turn(message).await?;
        now = Instant::now();
        if !answered {
            tally.bad(Code::Unavailable);
            break;
        }
        if window.holds(now) {
            tally.good(now - begin);
        }
    }
    Ok(tally)
}

/// Time on the processors since each process's start.
struct Spent {
    servers: Duration,
    generator: Duration,
}

impl Spent {
    fn now(servers: &[u32]) -> Result<Self, BoxError> {
        let mut sum = Duration::ZERO;
        for process in servers {
            sum += spent(&process.to_string())?;
        }
        Ok(Self { servers: sum, generator: spent("self")? })
    }
}

fn spent(process: &str) -> Result<Duration, BoxError> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))
        .map_err(|error| format!("process {process} cannot be watched: {error}"))?;
    // The name stands in brackets and may hold anything; utime and stime are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u32 =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
    Ok(TICK * ticks)
}
