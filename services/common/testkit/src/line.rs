//! Calling a service as the gateway does: with a pass.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use cqm_rpc::{BoxError, Caller, Clock};
use cqm_runtime::pass::{Mint, Passes, PassesConfig, SigningConfig};
use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

/// Whose passes a service under test takes: those of [`mint`].
pub fn passes() -> PassesConfig {
    PassesConfig { keys: key("keys.pem"), ..PassesConfig::default() }
}

/// How a gateway under test signs the passes that services under test take.
pub fn signing() -> SigningConfig {
    SigningConfig { key: key("signing.pem"), ..SigningConfig::default() }
}

/// Signs what services under test take, in the time of this clock.
pub fn mint(clock: Clock) -> Mint {
    Mint::new(&signing(), clock).expect("the key of the tests")
}

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("passes").join(name)
}

/// A connection to a service. A request of [`crate::request`] goes over it with its caller's pass; any other as it is.
#[derive(Clone, Debug)]
pub struct Line {
    channel: Channel,
    passes: Passes,
}

impl Line {
    /// Connects to the service of this name. The clock is the service's.
    pub async fn to(address: SocketAddr, service: &'static str, clock: Clock) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI");
        let channel = endpoint.connect().await.expect("the service answers");
        Self { channel, passes: mint(clock).for_service(service) }
    }
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Self { mut channel, passes } = self.clone();
        Box::pin(async move {
            if let Some(caller) = request.extensions_mut().remove::<Caller>() {
                let path = request.uri().path().to_owned();
                passes.stamp(request.headers_mut(), &path, &caller).await?;
            }
            Ok(channel.ready().await?.call(request).await?)
        })
    }
}
