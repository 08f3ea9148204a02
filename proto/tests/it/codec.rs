//! Bytes that are no message are the caller's mistake, through a server as it is generated.

use cqm_proto::google::rpc;
use cqm_proto::notifications::v1::contact_service_server::{ContactService, ContactServiceServer};
use cqm_proto::notifications::v1::{Contact, GetContactRequest, PutContactRequest};
use http_body_util::Full;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tonic::{Code, Request, Response, Status};
use tower::ServiceExt as _;

struct Echo;

#[tonic::async_trait]
impl ContactService for Echo {
    async fn put_contact(&self, request: Request<PutContactRequest>) -> Result<Response<Contact>, Status> {
        Ok(Response::new(request.into_inner().contact.unwrap_or_default()))
    }

    async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<Contact>, Status> {
        Ok(Response::new(Contact { name: request.into_inner().name, ..Default::default() }))
    }
}

/// The status that the server answers with before any message.
async fn send(message: &[u8]) -> Option<Status> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len().try_into().unwrap());
    frame.put_slice(message);
    let request = http::Request::post("/cqm.notifications.v1.ContactService/GetContact")
        .header("content-type", "application/grpc")
        .body(Full::<Bytes>::new(frame.freeze()))
        .unwrap();
    let response = ContactServiceServer::new(Echo).oneshot(request).await.unwrap();
    Status::from_header_map(response.headers())
}

async fn assert_malformed(message: &[u8]) {
    let status = send(message).await.expect("refused before any answer");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().len() <= 256, "{}", status.message());

    let details = rpc::Status::decode(status.details()).unwrap();
    assert_eq!((details.code, details.message.as_str()), (Code::InvalidArgument.into(), status.message()));
    assert_eq!(details.details.len(), 1);
    assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    let info = rpc::ErrorInfo::decode(details.details[0].value.as_slice()).unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("MALFORMED_MESSAGE", "cqm"));
}

/// Groups inside groups, of a field that no message has.
fn nested(depth: usize) -> Vec<u8> {
    let key = |wire_type: u8| [0x80 | wire_type, 0x7d];
    let mut bytes = Vec::new();
    (0..depth).for_each(|_| bytes.extend(key(3)));
    (0..depth).for_each(|_| bytes.extend(key(4)));
    bytes
}

#[tokio::test]
async fn a_message_is_taken() {
    assert!(send(&GetContactRequest { name: "contacts/1".to_owned() }.encode_to_vec()).await.is_none());
    assert!(send(&nested(50)).await.is_none());
}

#[tokio::test]
async fn garbage_is_refused() {
    assert_malformed(&[0xff; 40]).await;
    assert_malformed(&[0x0a, 0x7f, b'x']).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    assert_malformed(&[0x0a, 2, 0xc3, 0x28]).await;
}

#[tokio::test]
async fn nesting_over_100_is_refused() {
    assert_malformed(&nested(101)).await;
}
