//! A caller who does not give up: repeats with the same `request_id` until there is an answer.

use std::time::{Duration, Instant};

use cqm_rpc::{Failure, TraceContext};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Longer than any outage that a test makes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of the gateway with a token.
pub type Caller = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub struct Bearer {
    token: MetadataValue<Ascii>,
    trace: Option<MetadataValue<Ascii>>,
}

impl Bearer {
    /// Connects when the first call is made.
    pub fn caller(address: &str, token: &str) -> Caller {
        let token = format!("Bearer {token}").parse().expect("a token is ASCII");
        InterceptedService::new(channel(address), Self { token, trace: None })
    }

    /// The same, and it gives up no sooner than each call says.
    pub fn patient(address: &str, token: &str) -> Caller {
        let token = format!("Bearer {token}").parse().expect("a token is ASCII");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI");
        InterceptedService::new(endpoint.connect_lazy(), Self { token, trace: None })
    }

    /// The same as [`Self::caller`], and all calls are of one trace of the caller's own.
    pub fn traced(address: &str, token: &str, trace: &TraceContext) -> Caller {
        let token = format!("Bearer {token}").parse().expect("a token is ASCII");
        let trace = Some(trace.to_string().parse().expect("a trace is ASCII"));
        InterceptedService::new(channel(address), Self { token, trace })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.token.clone());
        if let Some(trace) = &self.trace {
            request.metadata_mut().insert("traceparent", trace.clone());
        }
        // Shorter than the suite's own limit: a call that a killed process has swallowed is repeated soon.
        if !request.metadata().contains_key("grpc-timeout") {
            request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("3S"));
        }
        Ok(request)
    }
}

/// A client without credentials.
pub fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address is a URI")
        .connect_timeout(Duration::from_secs(1))
        .timeout(Duration::from_secs(5))
        .connect_lazy()
}

/// Makes a call until it is answered for good, however often processes die meanwhile.
pub async fn again<A, W>(mut call: impl FnMut() -> W) -> Result<A, Failure>
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
                    return Err(failure);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
