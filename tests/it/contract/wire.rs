//! HTTP/2 without a library of gRPC over it: what no generated client would send.

use bytes::{Bytes, BytesMut};
use cqm_runtime::tasks::detached;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tonic::Status;

pub struct Wire(h2::client::SendRequest<Bytes>);

/// An answer, whole.
pub struct Answer {
    pub headers: HeaderMap,
    pub body: Bytes,
    trailers: HeaderMap,
}

impl Wire {
    pub async fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        detached(connection);
        Self(sender)
    }

    /// Calls a method with these headers and these bytes as its body.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::post(format!("http://cqm{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.0.clone().ready().await.unwrap();
        let (answer, mut sending) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        // A server that has refused already does not wait for the rest.
        let _ = sending.send_data(body.into(), true);
        let (parts, mut receiving) = answer.await.unwrap().into_parts();
        if parts.headers.contains_key("grpc-status") {
            return Answer { headers: parts.headers, body: Bytes::new(), trailers: HeaderMap::new() };
        }
        let mut body = BytesMut::new();
        while let Some(data) = receiving.data().await {
            let data = data.unwrap();
            receiving.flow_control().release_capacity(data.len()).unwrap();
            body.extend(data);
        }
        let trailers = receiving.trailers().await.unwrap().expect("a status at the end");
        Answer { headers: parts.headers, body: body.freeze(), trailers }
    }
}

impl Answer {
    /// The status, wherever it stands.
    pub fn status(&self) -> Status {
        Status::from_header_map(&self.headers)
            .or_else(|| Status::from_header_map(&self.trailers))
            .expect("an answer has a status")
    }
}

/// A message as it stands in a body: not compressed, after its length.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}
