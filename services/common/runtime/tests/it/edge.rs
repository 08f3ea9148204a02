//! The stack as the gateway uses it: a gate of its own, and a service that forwards bytes.

use std::sync::Arc;

use bytes::Bytes;
use cqm_proto::policy::MethodPolicy;
use cqm_rpc::{Call, Caller, Error, Refusal, Role, reason};
use cqm_runtime::server::{Gate, Health, Options, Running, Shape, all_services, bind};
use http::request::Parts;
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Request};

use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;

use crate::desk::{Served, config, from_manager, get, refused, serve_desk};

/// Believes a password, and gives one caller no quota.
#[derive(Clone)]
struct Porter;

impl Gate for Porter {
    async fn identify(&self, parts: &mut Parts, _: &'static MethodPolicy) -> Result<Caller, Error> {
        let subject = match parts.headers.remove("authorization") {
            Some(value) if value == "swordfish" => "staff-8",
            Some(value) if value == "greedy" => "staff-9",
            _ => return Err(Error::Unauthenticated(reason::TOKEN_INVALID)),
        };
        Ok(Caller { subject: subject.into(), roles: vec![Role::Supervisor] })
    }

    async fn admit(&self, caller: &Caller, _: &Parts, _: &'static MethodPolicy) -> Result<Arc<str>, Error> {
        if &*caller.subject == "staff-9" {
            return Err(Error::Exhausted { refusal: Refusal::new(reason::QUOTA), retry_after: None });
        }
        Ok(Arc::clone(&caller.subject))
    }
}

async fn edge_before(served: &Served) -> Running {
    let health = Health::new(&all_services());
    health.ready().await;
    let line = served.channel().await;
    let forward = move |_| {
        let channel = line.clone();
        Ok(tower::service_fn(move |mut request: http::Request<Body>| {
            // As it was established here, whatever it was called by.
            let call = request.extensions_mut().remove::<Call>().unwrap();
            request.extensions_mut().insert(call.caller);
            let mut channel = channel.clone();
            async move {
                use tower::{Service, ServiceExt};
                if request.headers().contains_key("x-test-break") {
                    // An upstream whose connection breaks in the middle of an answer.
                    let frames = [Ok(Frame::data(Bytes::from_static(b"\0"))), Err("broken pipe")];
                    return Ok(http::Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames)))));
                }
                Ok(channel.ready().await.unwrap().call(request).await.unwrap())
            }
        }))
    };
    let bound = bind(&config(Shape::PerCore)).unwrap();
    bound.serve_edge(Options::new(health), Porter, forward).await.unwrap()
}

async fn client(edge: &Running) -> CustomerServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", edge.address())).unwrap();
    CustomerServiceClient::new(endpoint.connect().await.unwrap())
}

fn with<T>(password: &str, message: T) -> Request<T> {
    let mut request = from_manager(message);
    request.metadata_mut().insert("authorization", password.parse().unwrap());
    request
}

#[tokio::test]
async fn the_edge_puts_its_own_identity_in_place_of_what_was_sent() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let edge = edge_before(&served).await;
    let mut client = client(&edge).await;
    let customer = client.get_customer(with("swordfish", get("known"))).await.unwrap().into_inner();
    assert_eq!((customer.external_reference.as_str(), customer.tags[0].as_str()), ("staff-8", "supervisor"));

    let answer = client.get_customer(from_manager(get("known"))).await;
    assert_eq!(refused(answer), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    let answer = client.get_customer(with("greedy", get("known"))).await;
    assert_eq!(refused(answer), (Code::ResourceExhausted, "QUOTA".to_owned()));
    // Access comes before the quota.
    let delete = cqm_proto::customers::v1::DeleteCustomerRequest::default();
    let answer = client.delete_customer(with("greedy", delete)).await;
    assert_eq!(refused(answer), (Code::PermissionDenied, "ROLE_MISSING".to_owned()));
}

#[tokio::test]
async fn a_services_error_passes_the_edge_unchanged() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let edge = edge_before(&served).await;
    let answer = client(&edge).await.get_customer(with("swordfish", get("internal"))).await;
    assert_eq!(refused(answer), (Code::Internal, "INTERNAL".to_owned()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unavailable() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let edge = edge_before(&served).await;
    let mut request = with("swordfish", get("known"));
    request.metadata_mut().insert("x-test-break", "1".parse().unwrap());
    let answer = client(&edge).await.get_customer(request).await;
    assert_eq!(refused(answer), (Code::Unavailable, "UNREACHABLE".to_owned()));
}
