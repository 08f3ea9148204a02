//! Logs, traces and metrics, as a collector and an operator see them.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cqm_rpc::TraceContext;
use cqm_runtime::process::Admin;
use cqm_runtime::server::{Health, LIVENESS, READINESS, Shape};
use cqm_runtime::telemetry::late::LateSpan;
use cqm_runtime::telemetry::{self, LogFormat, Sampling, TelemetryConfig, TelemetryGuard};
use cqm_runtime::tls::ClientTlsConfig;
use cqm_testkit::{Authority, Door, eventually};
use opentelemetry::trace::SpanKind;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{config, from_manager, get, serve_desk};

/// One for the process, as in a process: telemetry is the one thing that is global.
static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(Telemetry::start);

struct Telemetry {
    config: TelemetryConfig,
    log: PathBuf,
    collector: Collector,
    /// Where TLS to the collector ends.
    _door: Door,
    _folder: tempfile::TempDir,
    _guard: TelemetryGuard,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter();
        let spans = spans.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        self.spans.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Telemetry {
    fn start() -> Self {
        // Outlives every test's own runtime.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _entered = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Collector::default();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(
                tokio::net::TcpListener::from_std(listener).unwrap(),
            ));
        runtime.spawn(server);

        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let ca = folder.path().join("ca.crt");
        std::fs::write(&ca, authority.pem()).unwrap();
        let identity = authority.vouch_for("127.0.0.1").of_http2();
        // A thread for it: whoever asks for telemetry first has a runtime of its own, which must not wait for another.
        let door = std::thread::scope(|scope| {
            let opened = scope.spawn(|| runtime.block_on(Door::to_server_by_tls(address, identity)));
            opened.join().unwrap()
        });
        let log = folder.path().join("log.json");
        let config = TelemetryConfig {
            format: LogFormat::Json,
            file: Some(log.clone()),
            otlp_endpoint: Some(format!("https://{}", door.address())),
            otlp_tls: ClientTlsConfig { ca: Some(ca), ..ClientTlsConfig::default() }.into(),
            sample: 0.0,
            metrics_interval: Duration::from_millis(100),
            // Where `/metrics` is asked for is each test's own; that it will be asked decides whether it counts.
            listen: Some("127.0.0.1:0".parse().unwrap()),
            ..TelemetryConfig::default()
        };
        // A process shows a panic in its log only; a failed assertion belongs on the terminal as well.
        let terminal = std::panic::take_hook();
        let guard = telemetry::init(&config, "runtime-tests").unwrap();
        let log_line = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            log_line(panic);
            terminal(panic);
        }));
        Self { config, log, collector, _door: door, _folder: folder, _guard: guard, _runtime: runtime }
    }

    /// The log's lines about one trace.
    fn lines(&self, trace: &TraceContext) -> Vec<serde_json::Value> {
        std::fs::read_to_string(&self.log)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|line| line["trace_id"] == trace.trace_id_hex())
            .collect()
    }

    fn spans(&self, trace: &TraceContext) -> Vec<Span> {
        let spans = self.collector.spans.lock().unwrap();
        spans.iter().filter(|span| span.trace_id == trace.trace_id).cloned().collect()
    }
}

/// What every server of this binary samples: only what a caller's trace asks for.
pub fn sampling() -> Sampling {
    Sampling::of(&TELEMETRY.config)
}

/// The log's lines.
pub fn log() -> Vec<String> {
    std::fs::read_to_string(&TELEMETRY.log).unwrap().lines().map(str::to_owned).collect()
}

/// What the collector was told last of a gauge.
pub fn gauge(name: &str) -> Option<f64> {
    use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
    let exports = TELEMETRY.collector.metrics.lock().unwrap();
    let metrics = exports
        .iter()
        .flat_map(|export| &export.resource_metrics)
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics);
    let mut points = metrics.filter(|metric| metric.name == name).filter_map(|metric| match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.last(),
        _ => None,
    });
    points.next_back().and_then(|point| match point.value {
        Some(Value::AsDouble(value)) => Some(value),
        _ => None,
    })
}

fn traced<T>(message: T, trace: &TraceContext) -> Request<T> {
    let mut request = from_manager(message);
    request.metadata_mut().insert("traceparent", trace.to_string().parse().unwrap());
    request
}

#[tokio::test]
async fn a_failure_is_logged_once_with_its_whole_chain() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let trace = TraceContext::fresh(false);
    client.get_customer(traced(get("internal"), &trace)).await.unwrap_err();
    eventually("the line", || async { !TELEMETRY.lines(&trace).is_empty() }).await;
    let lines = TELEMETRY.lines(&trace);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["level"], "ERROR");
    assert_eq!(lines[0]["cause"], "the outer cause: the inmost cause");
    assert_eq!(lines[0]["method"], "cqm.customers.v1.CustomerService/GetCustomer");
    assert_eq!(lines[0]["reason"], "INTERNAL");
}

#[tokio::test]
async fn what_the_caller_can_mend_is_not_logged_as_a_failure() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let trace = TraceContext::fresh(false);
    let mut request = traced(get("known"), &trace);
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    client.get_customer(request).await.unwrap_err();
    // The line of a later failure on the same connection is there, so the earlier one's would be.
    let later = TraceContext::fresh(false);
    client.get_customer(traced(get("internal"), &later)).await.unwrap_err();
    eventually("the later line", || async { !TELEMETRY.lines(&later).is_empty() }).await;
    assert_eq!(TELEMETRY.lines(&trace), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_panic_is_logged_once_by_its_place_and_without_what_it_quotes() {
    let served = serve_desk(config(Shape::PerCore)).await;
    served.customers().await.get_customer(from_manager(get("panic"))).await.unwrap_err();
    let panics = || {
        let log = std::fs::read_to_string(&TELEMETRY.log).unwrap();
        log.lines().filter(|line| line.contains("\"panic\"")).map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("the panic", || async { panics().iter().any(|line| line.contains("desk.rs")) }).await;
    for line in panics() {
        assert!(!line.contains("planted"), "{line}");
    }
}

#[tokio::test]
async fn a_sampled_call_is_a_span_of_its_callers_trace() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let (sampled, unsampled) = (TraceContext::fresh(true), TraceContext::fresh(false));
    client.get_customer(traced(get("known"), &unsampled)).await.unwrap();
    let answer = client.get_customer(traced(get("known"), &sampled)).await.unwrap().into_inner();
    eventually("the span", || async { !TELEMETRY.spans(&sampled).is_empty() }).await;
    let spans = TELEMETRY.spans(&sampled);
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(spans[0].name, "cqm.customers.v1.CustomerService/GetCustomer");
    assert_eq!(spans[0].parent_span_id, sampled.span_id);
    // What the handler passes on is this very span.
    let seen = TraceContext::parse(&answer.tags[1]).unwrap();
    assert_eq!(
        (seen.trace_id.to_vec(), seen.span_id.to_vec()),
        (sampled.trace_id.to_vec(), spans[0].span_id.clone())
    );
    assert!(seen.sampled);
    assert!(TELEMETRY.spans(&unsampled).is_empty());
}

#[tokio::test]
async fn a_failure_is_a_span_though_nobody_sampled_it_and_what_failed_behind_it_hangs_below() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let trace = TraceContext::fresh(false);
    client.get_customer(traced(get("known"), &trace)).await.unwrap();
    client.get_customer(traced(get("internal"), &trace)).await.unwrap_err();
    // Without a parent too, and under the id that the next hop was given.
    let own = TraceContext::fresh(false);
    let span = LateSpan {
        name: "root".to_owned(),
        kind: SpanKind::Server,
        parent: None,
        own,
        took: Duration::from_millis(3),
        failed: true,
        attributes: Vec::new(),
    };
    span.export();
    eventually("the spans", || async {
        !TELEMETRY.spans(&trace).is_empty() && !TELEMETRY.spans(&own).is_empty()
    })
    .await;
    assert_eq!(TELEMETRY.spans(&own)[0].span_id, own.span_id);
    let spans = TELEMETRY.spans(&trace);
    assert_eq!(spans.len(), 1, "the call that succeeded is not kept: {spans:?}");
    assert_eq!(spans[0].name, "cqm.customers.v1.CustomerService/GetCustomer");
    assert_eq!(spans[0].parent_span_id, trace.span_id);
    assert_eq!(spans[0].status.as_ref().unwrap().code, 2, "an error");
    assert!(spans[0].start_time_unix_nano <= spans[0].end_time_unix_nano);
}

#[tokio::test]
async fn the_admin_port_tells_figures_and_health_and_nothing_else() {
    let (health, config) = (Health::new(&["cqm.customers.v1.CustomerService"]), TELEMETRY.config.clone());
    let admin = Admin::open(&config, &health).await.unwrap().expect("it is configured");
    let address = admin.address().to_string();
    let served = serve_desk(self::config(Shape::PerCore)).await;
    served.customers().await.get_customer(from_manager(get("known"))).await.unwrap();

    // Counted when the answer has been handed over, which may be after it has arrived.
    eventually("the count of the call", || async {
        let (status, text) = cqm_testkit::get(&address, "/metrics").await.unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(text.contains("service_name=\"runtime-tests\""), "{text}");
        text.lines().any(|line| {
            line.starts_with("rpc_server_call_duration_seconds_count{")
                && line.contains("rpc_method=\"GetCustomer\"")
                && line.contains("rpc_response_status_code=\"OK\"")
        })
    })
    .await;
    let (status, _) = cqm_testkit::get(&address, "/").await.unwrap();
    assert_eq!(status, "HTTP/1.1 404 Not Found");

    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = HealthClient::new(channel);
    let mut ask = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.unwrap().into_inner().status()
    };
    assert_eq!(ask(LIVENESS).await, ServingStatus::Serving, "whatever it waits for");
    assert_eq!(ask(READINESS).await, ServingStatus::NotServing);
    health.ready().await;
    assert_eq!(ask(READINESS).await, ServingStatus::Serving);
    health.not_ready().await;
    assert_eq!((ask(LIVENESS).await, ask("").await), (ServingStatus::Serving, ServingStatus::NotServing));

    let closed = TelemetryConfig { listen: None, ..config };
    assert!(Admin::open(&closed, &health).await.unwrap().is_none());
    let taken = TelemetryConfig { listen: Some(admin.address()), ..closed };
    let error = Admin::open(&taken, &health).await.unwrap_err().to_string();
    assert!(error.contains("admin port") && error.contains(&address), "{error}");
}

#[tokio::test]
async fn calls_are_counted_by_method_and_status() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    client.get_customer(from_manager(get("known"))).await.unwrap();
    client.get_customer(Request::new(get("known"))).await.unwrap_err();
    for status in ["OK", "UNAUTHENTICATED"] {
        eventually(status, || async {
            let exports = format!("{:?}", TELEMETRY.collector.metrics.lock().unwrap().last());
            exports.contains("rpc.server.call.duration")
                && exports.contains("\"GetCustomer\"")
                && exports.contains(&format!("\"{status}\""))
        })
        .await;
    }
}

#[tokio::test]
async fn an_internal_error_inside_a_stream_is_logged_too() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let trace = TraceContext::fresh(false);
    let rows = tokio_stream::iter([crate::desk::row(1, "internal")]);
    let mut answers =
        served.customers().await.import_customers(traced(rows, &trace)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), tonic::Code::Internal);
    eventually("the line", || async { !TELEMETRY.lines(&trace).is_empty() }).await;
    let lines = TELEMETRY.lines(&trace);
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &"ERROR".into()), "{lines:?}");
}
