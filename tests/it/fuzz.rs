//! From bytes to routing and into every message: whatever comes is answered by a status that was meant, and nothing
//! panics.

use std::sync::LazyLock;

use bytes::Bytes;
use cqm_customer_data::{App, Config};
use cqm_gateway::backend::Backend;
use cqm_proto::policy::{self, MethodPolicy};
use cqm_rpc::{Caller, Clock, Failure, Role, metadata, role_name};
use cqm_runtime::pass::Passes;
use cqm_runtime::tasks::detached;
use cqm_testkit::Kit;
use cqm_tests::Gatehouse;
use cqm_tests::attack::{Attack, Peer, Settings, call, data, field, frame, head_of, header, message};
use http::{HeaderMap, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};
use tokio::net::TcpStream;
use tonic::{Code, Status};

use crate::journey::Stage;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(cqm_proto::FILE_DESCRIPTOR_SET).expect("the contract"));

/// How deep generated messages go; the suite's own are flatter.
const DEPTH: u32 = 3;
/// What has broken parsers before.
static TEXTS: [&str; 12] = [
    "",
    "customers/00000000-0000-7000-8000-000000000000",
    "customers/-",
    "*",
    "\u{0}",
    "\u{202e}abc",
    "9223372036854775808",
    "+8613800138000",
    "a@b.c",
    "zh-CN",
    "{{ x }}",
    "😀e\u{301}",
];

fn method(policy: &MethodPolicy) -> Option<MethodDescriptor> {
    let (service, name) = policy.path.trim_start_matches('/').split_once('/')?;
    POOL.get_service_by_name(service)?.methods().find(|method| method.name() == name)
}

/// What callers may call at the gateway: the feeds are between the services.
fn methods() -> Vec<&'static MethodPolicy> {
    policy::all().iter().filter(|policy| !policy.path.starts_with("/cqm.events.")).collect()
}

/// A role that may call it and that a token may carry.
fn role(policy: &MethodPolicy) -> Option<Role> {
    let forgeable = |role: &Role| !matches!(role, Role::Coordinator | Role::Customer);
    policy.roles.iter().copied().find(forgeable)
}

/// Which services answer a method.
pub(crate) trait Answers {
    /// Whether every service does, each for its own data.
    fn everywhere(&self) -> bool;
    fn answers(&self, backend: Backend) -> bool;
}

impl Answers for MethodPolicy {
    fn everywhere(&self) -> bool {
        ["/cqm.audit.", "/cqm.events.", "/cqm.subjects."].iter().any(|start| self.path.starts_with(start))
    }

    fn answers(&self, backend: Backend) -> bool {
        let package =
            self.path.trim_start_matches('/').split('/').next().and_then(|name| name.rsplit_once('.'));
        self.everywhere() || package.is_some_and(|(package, _)| package == backend.package())
    }
}

/// Where a method is called, and as whom.
struct Way {
    address: String,
    headers: HeaderMap,
    /// A pass of the coordinator, for each call anew: it is good for seconds.
    passes: Option<Passes>,
}

impl Way {
    /// Through the gateway where a caller of it may call the method, else as the coordinator straight to each service that
    /// has it.
    fn all(stage: &Stage, policy: &MethodPolicy) -> Vec<Self> {
        let mut headers = HeaderMap::new();
        let role = role(policy);
        if let Some(role) = role {
            let bearer = format!("Bearer {}", stage.token(role_name(role)));
            headers.insert("authorization", bearer.parse().unwrap());
        }
        if policy.everywhere() {
            headers.insert(metadata::SOURCE, HeaderValue::from_static("customer-data"));
        }
        // Who comes without credentials is a customer.
        if role.is_some() || policy.roles.contains(&Role::Customer) {
            return vec![Self { address: stage.suite.address().to_string(), headers, passes: None }];
        }
        let straight = |backend: Backend| Self {
            address: stage.suite.services()[backend.name()].to_string(),
            headers: HeaderMap::new(),
            passes: Some(stage.mint().for_service(backend.name())),
        };
        let ways: Vec<_> =
            Backend::ALL.into_iter().filter(|backend| policy.answers(*backend)).map(straight).collect();
        assert!(!ways.is_empty(), "nobody can call {}", policy.path);
        ways
    }

    async fn call(&self, path: &str, bytes: &[u8]) -> Status {
        let mut headers = self.headers.clone();
        if let Some(passes) = &self.passes {
            let coordinator = Caller { subject: "coordinator".into(), roles: vec![Role::Coordinator] };
            passes.stamp(&mut headers, path, &coordinator).await.unwrap();
        }
        status(&self.address, path, headers, message(bytes)).await
    }
}

/// What is said before anybody has looked into a message.
const AT_THE_DOOR: [&str; 5] =
    ["CREDENTIALS_MISSING", "TOKEN_INVALID", "ROLE_MISSING", "METHOD_UNKNOWN", "QUOTA"];
/// The same where the metadata say whose data is meant; elsewhere it stands in a message.
const WHOSE: &str = "SOURCE_UNKNOWN";

/// A message of this kind on the wire: its own fields in any number and order, with values that fit their types and
/// mostly no sense.
fn some(kind: MessageDescriptor, depth: u32) -> BoxedStrategy<Vec<u8>> {
    let fields: Vec<_> = kind.fields().collect();
    if fields.is_empty() || depth == 0 {
        return Just(Vec::new()).boxed();
    }
    let one = (0..fields.len()).prop_flat_map(move |index| {
        let field = &fields[index];
        value(field.kind(), field.number(), depth)
    });
    vec(one, 0..8).prop_map(|fields| fields.concat()).boxed()
}

fn value(kind: Kind, number: u32, depth: u32) -> BoxedStrategy<Vec<u8>> {
    let varint = move |value: u64| [varint(u64::from(number) << 3), varint(value)].concat();
    let counted = move |bytes: Vec<u8>| {
        [self::varint(u64::from(number) << 3 | 2), self::varint(bytes.len() as u64), bytes].concat()
    };
    match kind {
        Kind::Message(inner) => some(inner, depth - 1).prop_map(counted).boxed(),
        Kind::String => prop_oneof![
            proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned),
            any::<String>(),
            Just("x".repeat(5000)),
        ]
        .prop_map(move |text| counted(text.into_bytes()))
        .boxed(),
        Kind::Bytes => vec(any::<u8>(), 0..64).prop_map(counted).boxed(),
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => any::<u64>()
            .prop_map(move |bits| {
                [self::varint(u64::from(number) << 3 | 1), bits.to_le_bytes().to_vec()].concat()
            })
            .boxed(),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => any::<u32>()
            .prop_map(move |bits| {
                [self::varint(u64::from(number) << 3 | 5), bits.to_le_bytes().to_vec()].concat()
            })
            .boxed(),
        _ => prop_oneof![
            0..4_u64,
            any::<u64>(),
            Just(u64::MAX),
            Just(i64::MAX as u64),
            Just(i64::MIN as u64),
            Just(i32::MAX as u64)
        ]
        .prop_map(varint)
        .boxed(),
    }
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Bytes that are nothing, that are a message, and that were one; and whether they are one for sure.
fn bytes_for(kind: MessageDescriptor) -> BoxedStrategy<(bool, Vec<u8>)> {
    let good = some(kind, DEPTH);
    let bent =
        (good.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, other)| {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = other;
            }
            bytes
        });
    let cut = (good.clone(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
        bytes.truncate(at.index(bytes.len() + 1));
        bytes
    });
    let broken = prop_oneof![2 => vec(any::<u8>(), 0..256), 1 => bent, 1 => cut];
    prop_oneof![broken.prop_map(|bytes| (false, bytes)), good.prop_map(|bytes| (true, bytes))].boxed()
}

/// Calls and returns the first status there is.
pub(crate) async fn status(address: &str, path: &str, headers: HeaderMap, body: Vec<u8>) -> Status {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driven = detached(connection);
    let mut request = http::Request::post(format!("http://cqm{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        // Some calls wait for what may come, as long as they have time.
        .header("grpc-timeout", "1S")
        .body(())
        .unwrap();
    request.headers_mut().extend(headers);
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut sending) = sender.send_request(request, false).unwrap();
    let _ = sending.send_data(Bytes::from(body), true);
    let (parts, mut answer) = answer.await.unwrap().into_parts();
    let status = match Status::from_header_map(&parts.headers) {
        Some(status) => status,
        None => {
            while let Some(data) = answer.data().await {
                let data = data.unwrap();
                answer.flow_control().release_capacity(data.len()).unwrap();
            }
            let trailers = answer.trailers().await.unwrap().expect("a status at the end");
            Status::from_header_map(&trailers).expect("a status")
        }
    };
    driven.abort();
    status
}

/// `check` for so many drawn values; what fails is made as small as it can be.
fn for_all<S: Strategy>(cases: u32, of: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut runner = TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    runner.run(of, check).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_whatever_bytes_it_is_given_by_a_status_that_was_meant() {
    let stage = Stage::set().await;
    let handle = tokio::runtime::Handle::current();
    for policy in policy::all() {
        let Some(method) = method(policy) else { panic!("{} is not in the contract", policy.path) };
        for way in Way::all(&stage, policy) {
            let check = |(is_message, bytes): (bool, Vec<u8>)| {
                let status = handle.block_on(way.call(policy.path, &bytes));
                let meant = !matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
                prop_assert!(meant, "{}: {status}", policy.path);
                // The method itself has read it: what else could be found out by calling?
                let reason = Failure::of(&status).reason;
                let outside =
                    AT_THE_DOOR.contains(&reason.as_str()) || policy.everywhere() && reason == WHOSE;
                prop_assert!(!outside, "{}: {reason}", policy.path);
                let read = !is_message || reason != "MALFORMED_MESSAGE";
                prop_assert!(read, "{} does not read a message", policy.path);
                Ok(())
            };
            tokio::task::block_in_place(|| {
                check((true, Vec::new())).unwrap();
                for_all(12, &bytes_for(method.input()), check);
            });
        }
    }
    stage.suite.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_no_header_and_no_frame_shakes_the_gateway() {
    let config = Config { batch_rows: 50, report_keys: Vec::new() };
    let kit = Kit::start_at::<App>(config, Clock::system()).await;
    let mut gate = Gatehouse::before(kit.address, "").await;
    let (address, token) = (gate.address().to_owned(), gate.token());
    let bearer = format!("Bearer {token}");
    let handle = tokio::runtime::Handle::current();
    let fields = |more: Vec<(Vec<u8>, Vec<u8>)>, path: &str| {
        let more: Vec<Vec<u8>> = more.iter().map(|(name, value)| field(name, value)).collect();
        [head_of(path), header("authorization", &bearer), more.concat()].concat()
    };
    // Ends by the server's hanging up, or by its answering the ping behind.
    let send = |bytes: Vec<u8>| {
        handle.block_on(async {
            let mut peer = Peer::connect(&address, Settings::default()).await.unwrap();
            if peer.send(&bytes).await.is_ok() && peer.send(&cqm_tests::attack::ping()).await.is_ok() {
                let _ =
                    tokio::time::timeout(std::time::Duration::from_millis(200), peer.answered_ping()).await;
            }
        });
    };
    let names = prop_oneof![
        Just(b"grpc-timeout".to_vec()),
        Just(b"grpc-encoding".to_vec()),
        Just(b"traceparent".to_vec()),
        Just(b"authorization".to_vec()),
        Just(b"x-cqm-source".to_vec()),
        Just(b"x-cqm-caller".to_vec()),
        Just(b"content-length".to_vec()),
        Just(b":path".to_vec()),
        vec(any::<u8>(), 0..20),
    ];
    let header = (names, vec(any::<u8>(), 0..60));
    let paths: Vec<&str> = methods().iter().map(|policy| policy.path).collect();
    let path = prop_oneof![
        proptest::sample::select(paths).prop_map(str::to_owned),
        "/[a-zA-Z0-9._/]{0,60}",
        any::<String>(),
    ];
    let frames = vec(
        (any::<u8>(), any::<u8>(), 0..9_u32, vec(any::<u8>(), 0..64))
            .prop_map(|(kind, flags, stream, payload)| frame(kind % 12, flags, stream, &payload)),
        1..20,
    );
    tokio::task::block_in_place(|| {
        for_all(200, &(path, vec(header, 0..6), vec(any::<u8>(), 0..64)), |(path, headers, body)| {
            send([call(1, &fields(headers, &path), true, false), data(1, &message(&body), true)].concat());
            Ok(())
        });
        for_all(200, &frames, |frames| {
            send([call(1, &fields(Vec::new(), Attack::METHOD), true, false), frames.concat()].concat());
            Ok(())
        });
        for_all(100, &vec(any::<u8>(), 0..300), |bytes| {
            send(bytes);
            Ok(())
        });
    });
    gate.stands();
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer.parse().unwrap())]);
    let answer = status(&address, Attack::METHOD, headers, message(b"")).await;
    assert_eq!(answer.code(), Code::InvalidArgument, "{answer}");
}
