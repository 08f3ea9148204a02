//! One HTTP/2 connection that gRPC calls are made over.
//!
//! Written on h2 itself: the generator shares its cores with what it measures, so whatever it does beyond the
//! protocol is taken from the figures.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cqm_rpc::{BoxError, Caller, Clock, Failure, Role};
use cqm_runtime::pass::{Mint, Passes, SigningConfig};
use cqm_runtime::tasks::detached;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::echo::ANSWER_BYTES;

/// Larger than anything that is in flight at once, so that no call waits for a window.
const WINDOW: u32 = 4 * 1024 * 1024;

/// How long a pass of the generator's is good, and after how long it takes another.
const PASS_LIFE: Duration = Duration::from_secs(60);
pub const RENEW: Duration = Duration::from_secs(20);

/// What every request of a measurement begins with.
#[derive(Clone)]
pub struct Head {
    uri: Uri,
    headers: HeaderMap,
    /// For a service that is called directly.
    passes: Option<Passes>,
}

impl Head {
    /// Identity by a token, as a caller of the gateway has it, or by a pass for this service, as the gateway shows it.
    pub fn new(
        address: SocketAddr,
        path: &str,
        token: Option<&str>,
        service: Option<&'static str>,
        answer_bytes: Option<usize>,
    ) -> Result<Self, BoxError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, format!("Bearer {}", token.trim()).parse()?);
        }
        if let Some(bytes) = answer_bytes {
            headers.insert(ANSWER_BYTES, bytes.into());
        }
        let passes = match service.filter(|_| token.is_none()) {
            Some(service) => {
                let signing = SigningConfig { life: PASS_LIFE, ..cqm_testkit::signing() };
                Some(Mint::new(&signing, Clock::system())?.for_service(service))
            }
            None => None,
        };
        Ok(Self { uri: format!("http://{address}{path}").parse()?, headers, passes })
    }

    /// The same with a pass that is good for now. Once in a while, not for every call: what the generator does is taken
    /// from the figures.
    pub async fn renewed(&self) -> Result<Self, BoxError> {
        let mut head = self.clone();
        if let Some(passes) = &self.passes {
            let caller = Caller { subject: "bench".into(), roles: vec![Role::ServiceManager] };
            passes.stamp(&mut head.headers, self.uri.path(), &caller).await?;
        }
        Ok(head)
    }
}

impl Head {
    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A stream in both directions, asked and answered in turns.
pub struct Conversation {
    response: Option<ResponseFuture>,
    hear: Option<RecvStream>,
    say: SendStream<Bytes>,
    kept: BytesMut,
}

impl Conversation {
    /// Says something and waits until as much has come back. `false` when the stream has ended.
    pub async fn turn(&mut self, message: Bytes) -> Result<bool, h2::Error> {
        let length = message.len();
        self.say.send_data(message, false)?;
        let hear = match self.response.take() {
            Some(response) => self.hear.insert(response.await?.into_body()),
            None => match &mut self.hear {
                Some(hear) => hear,
                None => return Ok(false),
            },
        };
        while self.kept.len() < length {
            let Some(chunk) = hear.data().await else { return Ok(false) };
            let chunk = chunk?;
            hear.flow_control().release_capacity(chunk.len())?;
            self.kept.extend_from_slice(&chunk);
        }
        let _ = self.kept.split_to(length);
        Ok(true)
    }
}

/// A connection; clones share it.
#[derive(Clone)]
pub struct Line {
    sender: SendRequest<Bytes>,
}

/// How a call ended as far as gRPC is concerned.
pub struct Answer {
    pub code: Code,
    /// When it says that the call may come again.
    pub retry_after: Option<Duration>,
    /// gRPC's prefix and the message; empty when the call failed.
    pub body: Bytes,
}

impl Line {
    /// Connects. The connection is driven by a task of the current runtime.
    pub async fn connect(address: SocketAddr) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(stream)
            .await?;
        // When it ends, the calls on it say so.
        detached(async move {
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Opens a stream in both directions.
    pub async fn open(&mut self, head: &Head) -> Result<Conversation, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        let (response, say) = self.sender.send_request(head.request(), false)?;
        Ok(Conversation { response: Some(response), hear: None, say, kept: BytesMut::new() })
    }

    /// Makes a call. An error means that the connection is of no use any more.
    pub async fn call(&mut self, head: &Head, message: Bytes) -> Result<Answer, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        let (response, mut stream) = self.sender.send_request(head.request(), false)?;
        stream.send_data(message, true)?;
        let (parts, mut body) = response.await?.into_parts();
        let mut chunks = BytesMut::new();
        let mut first = Bytes::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            if first.is_empty() {
                first = chunk;
            } else {
                chunks.extend_from_slice(&chunk);
            }
        }
        // A call that fails at once has its status in the headers.
        let trailers = if parts.headers.contains_key(Status::GRPC_STATUS) {
            parts.headers
        } else {
            body.trailers().await?.unwrap_or_default()
        };
        let code = code(&trailers).unwrap_or(Code::Unknown);
        let retry_after = match code {
            Code::Ok => None,
            _ => Status::from_header_map(&trailers).and_then(|status| Failure::of(&status).retry_after),
        };
        let body = if chunks.is_empty() { first } else { [first, chunks.freeze()].concat().into() };
        Ok(Answer { code, retry_after, body })
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}
