//! The demo, as a newcomer runs it, while those whom it calls and waits for are killed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cqm_proto::gateway::v1::Source;
use cqm_tests::{Bearer, Caller, Cluster, binary, settled, sources};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cdnow/sample.txt");
/// The demo has waited for a reaction in vain long before.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until the sources have got so far, in the middle of the demo.
async fn reached(staff: &Caller, demo: &mut Child, what: &str, so_far: impl Fn(&[Source]) -> bool) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let sources = sources(staff).await;
        if so_far(&sources) {
            return;
        }
        assert!(demo.try_wait().unwrap().is_none(), "the demo has ended before {what}");
        assert!(Instant::now() < give_up, "not {what}: {sources:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Events that have happened at a source, and those that have been told.
fn of(sources: &[Source], name: &str) -> (i64, i64) {
    sources
        .iter()
        .find(|known| known.source == name)
        .map_or((0, 0), |known| (known.head_position, known.position))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_comes_to_the_same_numbers_whoever_is_killed_in_the_middle() {
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

    reached(&staff, &mut demo, "500 rows are in", |sources| of(sources, "customer-data").0 >= 500).await;
    tokio::task::block_in_place(|| {
        cluster.kill_and_restart("gateway");
        cluster.kill_and_restart("customer-data");
    });
    for events in [1000, 4000, 7000] {
        let told = |sources: &[Source]| of(sources, "customer-data").1 >= events;
        reached(&staff, &mut demo, &format!("{events} events are told"), told).await;
        tokio::task::block_in_place(|| cluster.without_coordinators(|_| ()));
    }
    reached(&staff, &mut demo, "a story is told", |sources| of(sources, "complaints").1 >= 2).await;
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
        format!("points expected from the file {points}"),
        format!("points earned by its customers {points}"),
        "difference 0".to_owned(),
    ] {
        assert!(words.contains(&result), "{result} in {shown}");
    }
    // Rows that were in when their answer was lost are found there.
    for (what, rows) in [("customers:", 2357), ("purchases:", 6919)] {
        let line = shown.lines().find_map(|line| line.trim().strip_prefix(what)).expect("a summary");
        let counts: Vec<u64> =
            line.split(", ").map(|part| part.split_whitespace().next().unwrap().parse().unwrap()).collect();
        assert_eq!((counts[0] + counts[1], counts[2]), (rows, 0), "{line}");
    }
}
