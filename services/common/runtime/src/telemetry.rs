//! Logs, traces and metrics. Logs go to stderr or a file; traces and metrics to a collector, if one is configured;
//! metrics to whoever asks the admin port for them, if it is open.

mod collector;
pub mod late;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cqm_rpc::BoxError;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use rand::Rng;
use serde::Deserialize;
use tonic::transport::Channel;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{ConfigError, Validate, positive};
use crate::tls::{ClientTls, ServerTlsConfig};

/// How long the last spans and figures may take to reach the collector.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);
/// The root span of a call. Other spans are exported only inside one.
const ROOT_SPAN: &str = "call";

/// What a process tells about itself, and to whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    pub format: LogFormat,
    /// As in `RUST_LOG`.
    pub filter: String,
    /// Logs go here instead of to stderr.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The collector's OTLP/gRPC address, `https://collector:4317`, or `http://…` in plaintext. None: nothing is
    /// exported.
    #[serde(default)]
    pub otlp_endpoint: Option<String>,
    /// What a collector at `https` is believed by, and what it is shown.
    #[serde(default)]
    pub otlp_tls: ClientTls,
    /// The share of calls without a sampled parent that are traced.
    pub sample: f64,
    #[serde(with = "humantime_serde")]
    pub metrics_interval: Duration,
    #[serde(with = "humantime_serde")]
    pub figures_interval: Duration,
    /// The admin port: `/metrics` for Prometheus and health for probes. None: it is not open.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// How the admin port is secured. Without a certificate it is not: whoever probes often cannot speak TLS.
    pub listen_tls: ServerTlsConfig,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Pretty,
    Json,
}

impl Default for TelemetryConfig {
    /// What `config/base.toml` says.
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            filter: "info,opentelemetry=warn,h2=warn,hyper=warn".to_owned(),
            file: None,
            otlp_endpoint: None,
            otlp_tls: ClientTls::default(),
            sample: 0.01,
            metrics_interval: Duration::from_secs(15),
            figures_interval: Duration::from_secs(60),
            listen: None,
            listen_tls: ServerTlsConfig::default(),
        }
    }
}

impl Validate for TelemetryConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(ConfigError::refused("telemetry.sample", "must lie between 0 and 1"));
        }
        if let Err(error) = EnvFilter::try_new(&self.filter) {
            return Err(ConfigError::refused("telemetry.filter", format!("is no filter: {error}")));
        }
        if let Some(endpoint) = &self.otlp_endpoint {
            collector::address(endpoint)?;
        }
        self.otlp_tls.validate()?;
        self.listen_tls.validate_as([
            "telemetry.listen_tls.key",
            "telemetry.listen_tls.client_ca",
            "telemetry.listen_tls.reload",
        ])?;
        positive("telemetry.metrics_interval", self.metrics_interval)?;
        positive("telemetry.figures_interval", self.figures_interval)
    }
}

/// Which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Of the calls without a parent.
    share: f64,
    exported: bool,
}

impl Sampling {
    /// The configured share; none when nothing is exported, because a span that nobody receives is only cost.
    pub fn of(config: &TelemetryConfig) -> Self {
        let exported = config.otlp_endpoint.is_some();
        Self { share: if exported { config.sample } else { 0.0 }, exported }
    }

    pub fn never() -> Self {
        Self { share: 0.0, exported: false }
    }

    /// Draws for one new trace.
    pub(crate) fn root(&self) -> bool {
        self.share > 0.0 && rand::rng().random_bool(self.share)
    }

    /// Whether a span has a receiver.
    pub(crate) fn exported(&self) -> bool {
        self.exported
    }
}

/// Flushes what is on its way to the collector.
#[derive(Debug)]
#[must_use = "what is still on its way is lost without it"]
pub struct TelemetryGuard {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl TelemetryGuard {
    /// Sends the rest. Blocks up to a few seconds.
    pub fn flush(&mut self) {
        if let Some(traces) = self.traces.take() {
            let _ = traces.shutdown_with_timeout(FLUSH_LIMIT);
        }
        if let Some(metrics) = self.metrics.take() {
            let _ = metrics.shutdown_with_timeout(FLUSH_LIMIT);
        }
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Sets up logs, traces and metrics for the process. Must run inside a tokio runtime that outlives the guard,
/// and before anything takes a meter. A second call in one process changes nothing: tests share theirs.
pub fn init(config: &TelemetryConfig, service: &str) -> Result<TelemetryGuard, BoxError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let logs = logs(config)?.with_filter(filter);
    let registry = Registry::default().with(logs);
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .with_attribute(KeyValue::new("service.namespace", "cqm"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()))
        .build();
    let collector = match &config.otlp_endpoint {
        Some(endpoint) => Some(collector::connect(endpoint, &config.otlp_tls)?),
        None => None,
    };
    let metrics = metrics(config, collector.clone(), resource.clone())?;
    let Some(collector) = collector else {
        if registry.try_init().is_err() {
            return Ok(TelemetryGuard { traces: None, metrics: None });
        }
        log_panics();
        metrics.iter().cloned().for_each(opentelemetry::global::set_meter_provider);
        return Ok(TelemetryGuard { traces: None, metrics });
    };
    let traces = SdkTracerProvider::builder()
        // The server has decided before the span was made; what reaches the SDK is wanted.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_id_generator(late::Ids::default())
        .with_resource(resource)
        .with_batch_exporter(SpanExporter::builder().with_tonic().with_channel(collector).build()?)
        .build();

    // Spans inside a sampled call only: a dynamic filter, asked per span, because the callsite is the same for
    // both kinds. Events are not sent as span events; the log has them.
    let wanted = tracing_subscriber::filter::dynamic_filter_fn(|metadata, context| {
        metadata.is_span() && (metadata.name() == ROOT_SPAN || context.lookup_current().is_some())
    })
    .with_callsite_filter(|metadata| {
        use tracing::subscriber::Interest;
        if metadata.is_span() && metadata.target().starts_with("cqm") {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    });
    let spans = tracing_opentelemetry::layer().with_tracer(traces.tracer("cqm")).with_filter(wanted);
    if registry.with(spans).try_init().is_err() {
        return Ok(TelemetryGuard { traces: None, metrics: None });
    }
    log_panics();
    metrics.iter().cloned().for_each(opentelemetry::global::set_meter_provider);
    opentelemetry::global::set_tracer_provider(traces.clone());
    Ok(TelemetryGuard { traces: Some(traces), metrics })
}

/// Counts for those who want to know: the collector, to whom it is sent, and Prometheus, who asks the admin port. None
/// when nobody does: then counting costs nothing.
fn metrics(
    config: &TelemetryConfig,
    collector: Option<Channel>,
    resource: Resource,
) -> Result<Option<SdkMeterProvider>, BoxError> {
    if collector.is_none() && config.listen.is_none() {
        return Ok(None);
    }
    let mut metrics = SdkMeterProvider::builder().with_resource(resource);
    if let Some(collector) = collector {
        let figures = MetricExporter::builder().with_tonic().with_channel(collector).build()?;
        let sent = PeriodicReader::builder(figures).with_interval(config.metrics_interval).build();
        metrics = metrics.with_reader(sent);
    }
    if config.listen.is_some() {
        // Which crate of ours counted is nobody's business, and would be a label of every series.
        let asked = opentelemetry_prometheus::exporter()
            .with_registry(prometheus::default_registry().clone())
            .scope_info_enabled(false)
            .build()?;
        metrics = metrics.with_reader(asked);
    }
    Ok(Some(metrics.build()))
}

fn logs<S>(config: &TelemetryConfig) -> Result<Box<dyn Layer<S> + Send + Sync>, BoxError>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let writer = match &config.file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            BoxMakeWriter::new(Arc::new(file))
        }
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match config.format {
        LogFormat::Pretty => {
            layer.with_ansi(config.file.is_none() && std::io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    })
}

/// One line per panic, in the same log. A formatted message may quote a customer's data, so only messages that
/// stand in the source are shown; the place tells the rest.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(withheld)");
        let thread = std::thread::current();
        tracing::error!(place, message, thread = thread.name(), "panic");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sampled_for_nobody() {
        let everything = TelemetryConfig { sample: 1.0, ..TelemetryConfig::default() };
        assert!(!Sampling::of(&everything).root());
        let exported =
            TelemetryConfig { otlp_endpoint: Some("http://collector:4317".to_owned()), ..everything };
        assert!(Sampling::of(&exported).root());
    }
}
