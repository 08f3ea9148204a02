//! The ledger under load while its process is killed and its database crashes: no acknowledged change of points is lost,
//! and none is doubled, however often it had to be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::{
    AdjustmentBasis, EarnPointsRequest, GetAccountRequest, ListEntriesRequest, RedeemPointsRequest,
    VerifyLedgerRequest,
};
use cqm_tests::{Bearer, Caller, Cluster, again};
use futures::TryStreamExt;
use futures::future::join_all;
use uuid::Uuid;

/// Callers who write side by side, each for a customer of their own and all for one more.
const CALLERS: usize = 16;
const PAUSE: Duration = Duration::from_millis(600);
/// Points that each spend takes; each earn gives twice as many.
const SPENT: i64 = 5;

/// What one caller was told.
#[derive(Default)]
struct Told {
    /// The names of the entries that were acknowledged, and what they changed.
    entries: Vec<(String, i64)>,
}

/// Earns and spends until it is over, each request repeated under its id until it is answered.
async fn write(staff: Caller, customers: [String; 2], over: Arc<AtomicBool>) -> Told {
    let ledger = LedgerServiceClient::new(staff);
    let mut told = Told::default();
    while !over.load(Ordering::Relaxed) {
        for customer in &customers {
            let earn = EarnPointsRequest {
                customer: customer.clone(),
                basis: Some(Basis::Adjustment(AdjustmentBasis { points: 2 * SPENT })),
                request_id: Uuid::now_v7().to_string(),
                ..Default::default()
            };
            let earned = again(|| {
                let (mut ledger, earn) = (ledger.clone(), earn.clone());
                async move { ledger.earn_points(earn).await }
            });
            let entry = earned.await.expect("points are given").entry.expect("an entry");
            told.entries.push((entry.name, entry.points));

            let spend = RedeemPointsRequest {
                customer: customer.clone(),
                points: SPENT,
                request_id: Uuid::now_v7().to_string(),
                ..Default::default()
            };
            let spent = again(|| {
                let (mut ledger, spend) = (ledger.clone(), spend.clone());
                async move { ledger.redeem_points(spend).await }
            });
            let entries = spent.await.expect("there is enough: each spends less than they earned").entries;
            told.entries.extend(entries.into_iter().map(|entry| (entry.name, entry.points)));
        }
    }
    told
}

/// `CQM_TEST_KILLS` makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_ledger_and_a_crashed_database_lose_and_double_no_points() {
    let kills: usize = std::env::var("CQM_TEST_KILLS").map_or(15, |text| text.parse().unwrap());
    let mut cluster = Cluster::start();
    let staff = Bearer::caller(cluster.address(), &cluster.token("service_manager"));
    let name = || format!("customers/{}", Uuid::now_v7());
    let shared = name();
    let customers: Vec<String> = (0..CALLERS).map(|_| name()).collect();
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = customers
        .iter()
        .map(|own| write(staff.clone(), [own.clone(), shared.clone()], Arc::clone(&over)))
        .map(cqm_runtime::tasks::detached)
        .collect();
    for fault in 1..=kills {
        tokio::time::sleep(PAUSE).await;
        tokio::task::block_in_place(|| {
            if fault % 5 == 0 {
                eprintln!("fault {fault} of {kills}: Postgres crashes");
                cluster.postgres.crash_and_restart();
            } else {
                eprintln!("fault {fault} of {kills}: kill -9 loyalty");
                cluster.kill_and_restart("loyalty");
            }
        });
    }
    over.store(true, Ordering::Relaxed);
    let told: Vec<Told> = join_all(callers).await.into_iter().map(Result::unwrap).collect();

    let ledger = LedgerServiceClient::new(staff);
    let acknowledged: usize = told.iter().map(|told| told.entries.len()).sum();
    eprintln!("{acknowledged} entries were acknowledged");
    for customer in customers.iter().chain([&shared]) {
        let entries = all_entries(&ledger, customer).await;
        let (mut found, mut expected): (Vec<_>, Vec<_>) = (
            entries,
            told.iter()
                .flat_map(|told| &told.entries)
                .filter(|(name, _)| name.starts_with(&customer.replace("customers/", "members/")))
                .cloned()
                .collect(),
        );
        found.sort();
        expected.sort();
        // Everything that was acknowledged is there once, and nothing else: every request was answered in the end.
        assert_eq!(found, expected, "{customer}");
        let asked = GetAccountRequest { customer: customer.clone() };
        let account = again(|| {
            let (mut ledger, asked) = (ledger.clone(), asked.clone());
            async move { ledger.get_account(asked).await }
        });
        let sum: i64 = expected.iter().map(|(_, points)| points).sum();
        assert_eq!(account.await.unwrap().available, sum, "{customer}");
    }
    let request = VerifyLedgerRequest::default();
    let checked: Vec<_> =
        ledger.clone().verify_ledger(request).await.unwrap().into_inner().try_collect().await.unwrap();
    let last = checked.last().unwrap();
    assert_eq!((last.done, last.members, last.faults_total), (true, CALLERS as i64 + 1, 0), "{checked:?}");
}

async fn all_entries(ledger: &LedgerServiceClient<Caller>, customer: &str) -> Vec<(String, i64)> {
    let mut asked =
        ListEntriesRequest { customer: customer.into(), page_size: 200, page_token: String::new() };
    let mut entries = Vec::new();
    loop {
        let page = again(|| {
            let (mut ledger, asked) = (ledger.clone(), asked.clone());
            async move { ledger.list_entries(asked).await }
        });
        let page = page.await.unwrap();
        entries.extend(page.entries.into_iter().map(|entry| (entry.name, entry.points)));
        if page.next_page_token.is_empty() {
            return entries;
        }
        asked.page_token = page.next_page_token;
    }
}
