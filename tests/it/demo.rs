//! The demo, as a newcomer runs it, while those whom it waits for are killed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cqm_tests::{Bearer, Caller, Cluster, binary, settled, sources};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cdnow/sample.txt");
/// The demo has waited for a reaction in vain long before.
const PATIENCE: Duration = Duration::from_secs(300);
/// Events told so far at which the coordinators die: among the customers, and twice among the purchases.
const IMPORTED: [i64; 3] = [500, 4000, 7000];

/// Waits until the coordinators have told this many events of all sources, or of one.
async fn told(staff: &Caller, demo: &mut Child, source: Option<&str>, events: i64) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let sources = sources(staff).await;
        let fitting = sources.iter().filter(|known| source.is_none_or(|name| known.source == name));
        if fitting.map(|source| source.position).sum::<i64>() >= events {
            return;
        }
        assert!(demo.try_wait().unwrap().is_none(), "the demo has ended before {events} events were told");
        assert!(Instant::now() < give_up, "{events} events are not told: {sources:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_comes_to_the_same_numbers_however_often_the_coordinators_are_killed() {
    let mut cluster = Cluster::start();
    let staff = Bearer::caller(cluster.address(), &cluster.token("service_manager"));
    settled(&staff).await;
    let mut demo = Command::new(binary("cqm"))
        .args(["demo", "--data", SAMPLE, "--address", cluster.address()])
        .arg("--key")
        .arg(cluster.signing_key())
        .arg("--mail")
        .arg(cluster.mailbox())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    for events in IMPORTED {
        told(&staff, &mut demo, None, events).await;
        tokio::task::block_in_place(|| cluster.without_coordinators(|_| ()));
    }
    // And once more in the middle of a customer's story.
    told(&staff, &mut demo, Some("complaints"), 2).await;
    tokio::task::block_in_place(|| cluster.without_coordinators(|_| ()));

    let outcome = tokio::task::spawn_blocking(|| demo.wait_with_output()).await.unwrap().unwrap();
    let shown = String::from_utf8(outcome.stdout).unwrap();
    assert!(outcome.status.success(), "{shown}");
    let sample = std::fs::read_to_string(SAMPLE).unwrap();
    let units = |line: &str| -> i64 {
        let amount = line.split_whitespace().last().unwrap();
        amount.split('.').next().unwrap().parse().unwrap()
    };
    let points: i64 = sample.lines().filter(|line| !line.trim().is_empty()).map(units).sum();
    let words: Vec<&str> = shown.split_whitespace().collect();
    let words = words.join(" ");
    for result in [
        "customers: 2357 new, 0 already there, 0 rejected".to_owned(),
        "purchases: 6919 new, 0 already there, 0 rejected".to_owned(),
        format!("points expected from the file {points}"),
        format!("points earned by its customers {points}"),
        "difference 0".to_owned(),
    ] {
        assert!(words.contains(&result), "{result} in {shown}");
    }
}
