//! From bytes to routing and into every message: whatever comes is answered by a status that was meant, and nothing
//! panics.

use std::sync::LazyLock;

use bytes::Bytes;
use cqm_customer_data::{App, Config};
use cqm_proto::policy::{self, MethodPolicy};
use cqm_rpc::{Clock, Role, role_name};
use cqm_runtime::tasks::detached;
use cqm_testkit::Kit;
use cqm_tests::Gatehouse;
use cqm_tests::attack::{Attack, Peer, Settings, call, data, field, frame, head_of, header, message};
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

/// Bytes that are nothing, that are a message, and that were one.
fn bytes_for(kind: MessageDescriptor) -> BoxedStrategy<Vec<u8>> {
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
    prop_oneof![2 => vec(any::<u8>(), 0..256), 4 => good, 1 => bent, 1 => cut].boxed()
}

/// Calls and returns the first status there is.
async fn status(address: &str, path: &str, bearer: &str, body: Vec<u8>) -> Status {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driven = detached(connection);
    let request = http::Request::post(format!("http://cqm{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "5S")
        .header("authorization", bearer)
        .body(())
        .unwrap();
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
    let address = stage.suite.address().to_string();
    for policy in methods() {
        let Some(method) = method(policy) else { panic!("{} is not in the contract", policy.path) };
        let bearer =
            role(policy).map_or_else(String::new, |role| format!("Bearer {}", stage.token(role_name(role))));
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            for_all(12, &bytes_for(method.input()), |bytes| {
                let status = handle.block_on(status(&address, policy.path, &bearer, message(&bytes)));
                let meant = !matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
                prop_assert!(meant, "{}: {status}", policy.path);
                Ok(())
            });
        });
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
    let answer = status(&address, Attack::METHOD, &bearer, message(b"")).await;
    assert_eq!(answer.code(), Code::InvalidArgument, "{answer}");
}
