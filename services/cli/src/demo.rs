//! The demo: real purchases in, two customers' closed loops step by step, and what came of it.
//!
//! Everything goes through the gateway. What the suite does by itself (mails, invitations, points, reopening)
//! is waited for and never done here.

mod picture;
mod story;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cqm_proto::gateway::v1::ListSourcesRequest;
use cqm_proto::gateway::v1::coordinator_service_client::CoordinatorServiceClient;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::{GetAccountRequest, GetTrialBalanceRequest};
use cqm_rpc::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_stream::StreamExt;
use tonic::{Response, Status};

use crate::connect::Target;
use crate::import::{self, Format};

/// How long the suite may take to react: long enough to restart a process by hand in the middle.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Accounts asked for at once when the points are added up.
const SIDE_BY_SIDE: usize = 32;

pub async fn run(target: &Target, data: &Path, mail: &Path) -> Result<()> {
    heading("1. Real purchases come in");
    let rejected = std::env::temp_dir().join("cqm-demo.rejected.csv");
    let customers = import::customers(target, data, Format::Cdnow, &rejected).await?;
    let purchases = import::purchases(target, data, Format::Cdnow, &rejected).await?;
    println!("   customers: {}", customers.sentence(&rejected));
    println!("   purchases: {}", purchases.sentence(&rejected));
    ensure!(customers.rejected + purchases.rejected == 0, "the sample has no bad rows");

    heading("2. Every purchase becomes points");
    let expected = import::points_of_purchases(data, Format::Cdnow)?;
    settle(target).await?;
    let earned = earned(target, &customers.names).await?;
    println!("   points expected from the file {expected:>9}");
    println!("   points earned by its customers {earned:>8}");
    ensure!(earned == expected, "the ledger does not have the points that the purchases are worth");

    heading("3. A complaint goes wrong and is put right: Wang Fang, in Chinese");
    story::promise(target).await?;
    let fang = story::dissatisfied(target).await?;
    heading("4. A complaint goes well: Emma Clark, in English");
    let emma = story::satisfied(target).await?;

    heading("5. What the suite knows of Wang Fang");
    settle(target).await?;
    picture::customer360(target, &fang).await?;

    heading("6. The mails");
    picture::mails(mail, &[&fang, &emma])?;

    heading("7. The books");
    balance(target).await?;
    println!("\nDone. Every signal has become an action, once.");
    Ok(())
}

fn heading(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}

/// Waits until the coordinator has told everything that has happened so far to everybody.
async fn settle(target: &Target) -> Result<()> {
    let style = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {pos}/{len} events {msg}")
        .expect("the template is written correctly")
        .progress_chars("=> ");
    let bar = ProgressBar::new(0).with_style(style).with_prefix("reactions");
    let mut quiet = 0;
    let mut last = (0, Instant::now());
    while quiet < 3 {
        let client = CoordinatorServiceClient::new(target.client()?);
        let sources = again(|| {
            let mut client = client.clone();
            async move { client.list_sources(ListSourcesRequest {}).await }
        })
        .await?
        .sources;
        let (done, all): (i64, i64) = sources
            .iter()
            .fold((0, 0), |(done, all), source| (done + source.position, all + source.head_position));
        bar.set_length(all.unsigned_abs());
        bar.set_position(done.unsigned_abs());
        quiet = if done == all && sources.len() == 5 { quiet + 1 } else { 0 };
        if done != last.0 {
            last = (done, Instant::now());
        }
        ensure!(
            last.1.elapsed() < PATIENCE,
            "the coordinator has stood still for {PATIENCE:?}: is it running?"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bar.finish();
    Ok(())
}

/// What these customers have earned in all, as their accounts say.
async fn earned(target: &Target, customers: &[String]) -> Result<i64> {
    let client = LedgerServiceClient::new(target.client()?);
    let accounts = tokio_stream::iter(customers.iter().cloned());
    let mut total = 0;
    let mut running = tokio::task::JoinSet::new();
    let mut accounts = std::pin::pin!(accounts);
    loop {
        while running.len() < SIDE_BY_SIDE
            && let Some(customer) = accounts.next().await
        {
            let client = client.clone();
            running.spawn(async move {
                again(|| {
                    let (mut client, customer) = (client.clone(), customer.clone());
                    async move { client.get_account(GetAccountRequest { customer }).await }
                })
                .await
            });
        }
        let Some(account) = running.join_next().await else {
            return Ok(total);
        };
        match account.context("the reading task ended early")? {
            Ok(account) => total += account.lifetime_earned,
            // Nobody who has not earned anything is a member.
            Err(error)
                if error.downcast_ref::<Failure>().is_some_and(|f| f.code == tonic::Code::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn balance(target: &Target) -> Result<()> {
    let client = LedgerServiceClient::new(target.client()?);
    let books = again(|| {
        let mut client = client.clone();
        async move { client.get_trial_balance(GetTrialBalanceRequest {}).await }
    })
    .await?;
    println!("   {:<28} {:>12} {:>12}", "account", "debit", "credit");
    for account in &books.accounts {
        println!("   {:<28} {:>12} {:>12}", account.account, account.debit, account.credit);
    }
    println!("   {} members, {} entries, difference {}", books.members, books.entries, books.difference);
    ensure!(books.difference == 0, "the ledger does not balance");
    Ok(())
}

/// Makes a call until it is answered for good: a suite that restarts in the middle is waited for. Mutations
/// carry a `request_id`, so that a repeat changes nothing more.
async fn again<A, W>(mut call: impl FnMut() -> W) -> Result<A>
where
    W: Future<Output = Result<Response<A>, Status>>,
{
    let started = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => {
                let failure = Failure::of(&status);
                if !failure.is_transient() || started.elapsed() > PATIENCE {
                    return Err(failure.into());
                }
                tokio::time::sleep(failure.retry_after.unwrap_or(LOOK_EVERY)).await;
            }
        }
    }
}
