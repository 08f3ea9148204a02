//! An OTLP collector that keeps what it is told.

use std::sync::{Arc, Mutex, PoisonError};

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
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Clones share what was told.
#[derive(Clone, Default)]
pub struct Collector {
    traces: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
}

/// A span and the process that told it.
#[derive(Clone, Debug)]
pub struct Told {
    pub process: String,
    pub span: Span,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).push(request.into_inner());
        Ok(Response::new(Default::default()))
    }
}

impl Collector {
    /// Starts listening and returns where.
    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        cqm_runtime::tasks::detached(server);
        address
    }

    /// Everything about traces, as text.
    pub fn traces(&self) -> String {
        format!("{:?}", self.traces.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything about metrics, as text.
    pub fn metrics(&self) -> String {
        format!("{:?}", self.metrics.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The spans of one trace.
    pub fn spans(&self, trace_id: [u8; 16]) -> Vec<Told> {
        let mut told = Vec::new();
        for request in self.traces.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for resource in &request.resource_spans {
                let attributes = resource.resource.iter().flat_map(|resource| &resource.attributes);
                let name = attributes.into_iter().find(|attribute| attribute.key == "service.name");
                let process = match name.and_then(|name| name.value.as_ref()?.value.as_ref()) {
                    Some(Value::StringValue(name)) => name.clone(),
                    _ => String::new(),
                };
                let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
                let ours = spans.filter(|span| span.trace_id == trace_id);
                told.extend(ours.map(|span| Told { process: process.clone(), span: span.clone() }));
            }
        }
        told
    }
}
