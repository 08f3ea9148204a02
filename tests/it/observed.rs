//! What an operator sees of the suite: one trace of the closed loop, and every figure that dashboards and alerts name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cqm_proto::complaints::v1::sla_calendar::DayHours;
use cqm_proto::complaints::v1::sla_policy_service_client::SlaPolicyServiceClient;
use cqm_proto::complaints::v1::{
    PublishSlaPolicyRequest, Severity, SlaCalendar, SlaHours, SlaPolicy, SlaTarget,
};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer};
use cqm_rpc::TraceContext;
use cqm_tests::customer::{Callers, Person, live};
use cqm_tests::{Bearer, Cluster, Collector, channel, settled};

/// Until what happened has been told: exports and looks come by once a second here.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_and_the_mails_and_points_it_led_to_are_one_trace_across_the_event_log() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    // Nothing is drawn by chance: what is traced is what the caller's own trace asks for.
    let cluster =
        Cluster::start_with(&format!("[telemetry]\nsample = 0.0\notlp_endpoint = \"{endpoint}\"\n"));
    let trace = TraceContext::fresh(true);
    let callers = Callers {
        staff: Bearer::traced(cluster.address(), &cluster.token("service_manager"), &trace),
        internal: Bearer::caller(cluster.address(), &cluster.token("internal_service")),
        stranger: channel(cluster.address()),
    };
    live(&callers, &Person::anybody(), true).await;
    settled(&callers.staff).await;

    // What staff called, and what came of it by itself: only the event log leads from the one to the other.
    let called = [
        ("gateway", "RegisterComplaint"),
        ("complaints", "RegisterComplaint"),
        ("complaints", "ResolveComplaint"),
    ];
    let came = [
        ("notifications", "SendMessage"),
        ("notifications", "send mail"),
        ("surveys", "CreateInvitation"),
        ("loyalty", "EarnPoints"),
    ];
    let started = Instant::now();
    loop {
        let told = collector.spans(trace.trace_id);
        let names: BTreeSet<(&str, &str)> = told
            .iter()
            .map(|told| (told.process.as_str(), told.span.name.rsplit('/').next().unwrap_or_default()))
            .collect();
        if called.iter().chain(&came).all(|span| names.contains(span)) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the trace holds only {names:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }

    // Each span of a mail hangs below the call that asked for the mail.
    let told = collector.spans(trace.trace_id);
    let asked: BTreeSet<&[u8]> = told
        .iter()
        .filter(|told| told.span.name.ends_with("/SendMessage"))
        .map(|told| told.span.span_id.as_slice())
        .collect();
    for mail in told.iter().filter(|told| told.span.name == "send mail") {
        assert!(asked.contains(mail.span.parent_span_id.as_slice()), "{mail:?}");
    }
}

/// Told only where a process speaks TLS, which this cluster does not.
const WITH_TLS: &str = "cqm_tls_";

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_that_dashboards_and_alerts_name_is_told_by_a_running_suite() {
    let cluster = Cluster::start_with("[telemetry]\nfigures_interval = \"1s\"\n");
    let callers = Callers {
        staff: Bearer::caller(cluster.address(), &cluster.token("service_manager")),
        internal: Bearer::caller(cluster.address(), &cluster.token("internal_service")),
        stranger: channel(cluster.address()),
    };
    // Until then a process may be on its way up.
    settled(&callers.staff).await;
    let promise = PublishSlaPolicyRequest { sla_policy: Some(promise()), ..Default::default() };
    SlaPolicyServiceClient::new(callers.staff.clone()).publish_sla_policy(promise).await.unwrap();
    live(&callers, &Person::anybody(), true).await;
    settled(&callers.staff).await;

    let wanted = named();
    assert!(wanted.len() > 40, "the files were read: {wanted:?}");
    let started = Instant::now();
    loop {
        let mut told = BTreeSet::new();
        for name in cluster.names() {
            if let Ok((_, text)) = cqm_testkit::get(cluster.admin(&name), "/metrics").await {
                told.extend(words(&text).map(str::to_owned));
            }
        }
        let missing: BTreeMap<&String, &PathBuf> =
            wanted.iter().filter(|(word, _)| !told.contains(*word)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "nobody tells {missing:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }

    // And they are true: one complaint, taken up again because its handling did not satisfy, so that one of its clocks
    // runs; every event read.
    for (process, figure, wanted) in [
        ("complaints", "cqm_complaints_open", 1.0),
        ("complaints", "cqm_complaints_sla", 1.0),
        ("complaints", "cqm_event_log_lag", 0.0),
        ("complaints", "cqm_event_log_parked", 0.0),
        ("notifications", "cqm_notifications_due", 0.0),
        ("surveys", "cqm_surveys_recommendations", 1.0),
    ] {
        let started = Instant::now();
        loop {
            let (_, text) = cqm_testkit::get(cluster.admin(process), "/metrics").await.unwrap();
            let found = sum(&text, figure);
            if found == Some(wanted) {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{figure} is {found:?} instead of {wanted}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_coordinator_has_not_done_is_told_while_it_cannot_be_done() {
    const CUSTOMERS: f64 = 3.0;
    let mut cluster = Cluster::start_with("[telemetry]\nfigures_interval = \"1s\"\n");
    let staff = Bearer::caller(cluster.address(), &cluster.token("service_manager"));
    settled(&staff).await;
    // Every new customer is told to the notifications' service, which is away.
    cluster.kill("notifications");
    for _ in 0..CUSTOMERS as usize {
        let customer = Customer { display_name: "Han Meimei".to_owned(), ..Customer::default() };
        let create = CreateCustomerRequest { customer: Some(customer), ..Default::default() };
        CustomerServiceClient::new(staff.clone()).create_customer(create).await.unwrap();
    }
    lags(&cluster, CUSTOMERS).await;
    cluster.restart("notifications");
    lags(&cluster, 0.0).await;
    settled(&staff).await;
}

/// Waits until the customers' source is so many events behind: by its reader's word, whichever of the two it is, and by its
/// own.
async fn lags(cluster: &Cluster, wanted: f64) {
    let started = Instant::now();
    loop {
        let mut readers = 0.0;
        for name in ["coordinator-1", "coordinator-2"] {
            let text = cqm_testkit::get(cluster.admin(name), "/metrics").await.unwrap().1;
            readers += sum(&of_customers(&text), "cqm_coordinator_lag").unwrap_or_default();
        }
        let text = cqm_testkit::get(cluster.admin("customer-data"), "/metrics").await.unwrap().1;
        let own = sum(&of_customers(&text), "cqm_event_log_lag");
        if readers == wanted && own == Some(wanted) {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "the readers say {readers}, the source {own:?} instead of {wanted}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The series of the customers' source.
fn of_customers(text: &str) -> String {
    let ours = |line: &&str| line.contains("cqm_source=\"customer-data\"");
    text.lines().filter(ours).map(|line| format!("{line}\n")).collect()
}

/// A day of any day's time for everything.
fn promise() -> SlaPolicy {
    let hours = || vec![SlaHours { start: "00:00".to_owned(), end: "24:00".to_owned() }];
    let days = (1..=7).map(|day| DayHours { day, hours: hours() });
    let day = Some(prost_types::Duration { seconds: 24 * 60 * 60, nanos: 0 });
    let severities = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let target =
        |severity: Severity| SlaTarget { severity: severity.into(), first_response: day, resolution: day };
    SlaPolicy {
        calendar: Some(SlaCalendar {
            time_zone: "Asia/Shanghai".to_owned(),
            weekly: days.collect(),
            ..SlaCalendar::default()
        }),
        targets: severities.map(target).to_vec(),
        ..SlaPolicy::default()
    }
}

/// Of all series of a figure; `None` when there is none.
fn sum(text: &str, figure: &str) -> Option<f64> {
    let series = text.lines().filter(|line| {
        line.strip_prefix(figure).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    let values = series.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>().unwrap());
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Every figure and label of ours that a query names, and one file that it stands in.
fn named() -> BTreeMap<String, PathBuf> {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/cqm/files");
    let boards = std::fs::read_dir(files.join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let mut named = BTreeMap::new();
    for path in boards.chain([files.join("alerts.yaml")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let queries = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => queries(&serde_json::from_str(&text).unwrap()),
            // Sentences of an alert name labels too, and nothing else of ours.
            _ => text,
        };
        named.extend(words(&queries).map(|word| (word.to_owned(), path.clone())));
    }
    named.retain(|word, _| !word.starts_with(WITH_TLS));
    named
}

fn queries(board: &serde_json::Value) -> String {
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| format!("{}\n", target["expr"].as_str().unwrap())).collect()
}

/// The words by which the suite's figures and their labels are told from everybody else's.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let ours = |word: &&str| ["cqm_", "rpc_", "db_client_"].iter().any(|prefix| word.starts_with(prefix));
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(ours)
}
