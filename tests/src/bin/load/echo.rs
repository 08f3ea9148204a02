//! Bare tonic servers that say what they are told: the limit that calls are compared with, and a service of the suite
//! that costs nothing, so that what stands before it shows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cqm_rpc::BoxError;
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

pub const PATH: &str = "/bench.Echo/Say";
/// Metadata: how large an answer is to be, bytes.
pub const ANSWER_BYTES: &str = "x-answer-bytes";

/// Serves in tonic's and tokio's default shape.
pub fn serve(listen: SocketAddr) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Many callers behind one connection of a proxy are no reason to refuse.
    let mut server = Server::builder().max_concurrent_streams(Some(4096));
    runtime.block_on(server.add_service(Echo).add_service(Customers).serve(listen))?;
    Ok(())
}

/// A name, and what else an answer has.
#[derive(Clone, PartialEq, prost::Message)]
struct Said {
    #[prost(string, tag = "1")]
    name: String,
    /// No field of any contract.
    #[prost(bytes = "bytes", tag = "4000")]
    padding: Bytes,
}

#[derive(Clone)]
struct Echo;

/// Answers as customer-data does: with the customer that was asked for, or row by row what comes.
#[derive(Clone)]
struct Customers;

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl NamedService for Customers {
    const NAME: &'static str = "cqm.customers.v1.CustomerService";
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(unary(request))
    }
}

impl tower::Service<http::Request<Body>> for Customers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().ends_with("/ImportCustomers") {
            let mut response =
                http::Response::new(Body::new(Back { body: request.into_body(), done: false }));
            let content_type = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            return Box::pin(async { Ok(response) });
        }
        Box::pin(unary(request))
    }
}

// What tonic's generated code does for a unary method, without the code generator.
async fn unary(request: http::Request<Body>) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = Grpc::new(ProstCodec::<Said, Said>::default());
    Ok(grpc.unary(service_fn(say), request).await)
}

async fn say(request: Request<Said>) -> Result<Response<Said>, Status> {
    let bytes = request.metadata().get(ANSWER_BYTES).and_then(|value| value.to_str().ok()?.parse().ok());
    let padding = bytes.map_or_else(Bytes::new, |bytes| Bytes::from(vec![0; bytes]));
    Ok(Response::new(Said { padding, ..request.into_inner() }))
}

/// A stream whose every byte goes back.
struct Back {
    body: Body,
    done: bool,
}

impl http_body::Body for Back {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.done {
            return Poll::Ready(None);
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => {
                self.done = true;
                let status = (header::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([status])))))
            }
            frame => Poll::Ready(frame),
        }
    }
}
