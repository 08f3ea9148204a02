//! What a gateway makes of clients that mean harm: each attack over its own connection against a process of its own, an
//! honest caller beside it, and the process's memory looked at in the end.
//!
//! How long an honest call takes meanwhile is `./scripts/bench abuse`'s to say: time is no matter for a test.

use std::time::Duration;

use cqm_customer_data::{App, Config};
use cqm_proto::customers::v1::GetCustomerRequest;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_rpc::Clock;
use cqm_testkit::{Kit, eventually};
use cqm_tests::attack::{
    Attack, End, Peer, Settings, call, data, head_of, header, message, ping, reset, settings,
};
use cqm_tests::{Caller, Gatehouse};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;

/// Longer than any limit that these tests configure.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a gateway may have resident whatever is done to it, but for its connections: KiB.
const MEMORY: u64 = 64 * 1024;
/// What one idle connection may add: KiB. `base.toml` says 20.
const IDLE: u64 = 24;
/// RFC 9113, 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// A customers' service, a gateway before it, and a customer.
struct Scene {
    gate: Gatehouse,
    customer: String,
    _kit: Kit,
}

impl Scene {
    async fn set(server: &str) -> Self {
        let config = Config { batch_rows: 50, report_keys: Vec::new() };
        let kit = Kit::start_at::<App>(config, Clock::system()).await;
        let gate = Gatehouse::before(kit.address, server).await;
        let scene = Self { gate, customer: format!("customers/{}", uuid::Uuid::now_v7()), _kit: kit };
        let mut caller = scene.caller();
        // It listens before it serves.
        eventually("the gateway serves", async || scene.ask(&mut caller).await == Code::NotFound).await;
        scene
    }

    fn caller(&self) -> CustomerServiceClient<Caller> {
        CustomerServiceClient::new(self.gate.honest())
    }

    /// A call that goes all the way to the service and is answered there: there is no such customer.
    async fn honest(&self, caller: &mut CustomerServiceClient<Caller>) {
        assert_eq!(self.ask(caller).await, Code::NotFound);
    }

    async fn ask(&self, caller: &mut CustomerServiceClient<Caller>) -> Code {
        let get = GetCustomerRequest { name: self.customer.clone(), ..Default::default() };
        caller.get_customer(get).await.unwrap_err().code()
    }

    /// The head of a good call.
    fn fields(&self) -> Vec<u8> {
        let bearer = header("authorization", &format!("Bearer {}", self.gate.token()));
        [head_of(Attack::METHOD), bearer].concat()
    }

    async fn attack(&self, attack: Attack) -> End {
        let token = self.gate.token();
        tokio::time::timeout(PATIENCE, attack.once(self.gate.address(), &token))
            .await
            .expect("the server ends it")
            .unwrap()
    }

    /// The process lives, answers who came before and who comes now, and has stayed below the bound.
    async fn survives(&mut self, before: &mut CustomerServiceClient<Caller>, memory: u64) {
        self.honest(before).await;
        self.honest(&mut self.caller()).await;
        self.gate.stands();
        let peak = self.gate.peak_memory();
        assert!(peak < memory, "{peak} KiB were resident, {memory} are allowed");
    }
}

/// The server has said why it hung up, unless that was lost behind what it had not read any more.
#[track_caller]
fn calm(end: &End) {
    assert!(end.goaway.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection_and_nothing_else() {
    let mut scene = Scene::set("").await;
    let mut caller = scene.caller();
    scene.honest(&mut caller).await;
    for _ in 0..10 {
        let end = scene.attack(Attack::RapidReset).await;
        calm(&end);
    }
    scene.survives(&mut caller, MEMORY).await;
}

/// Slow enough for every limit of a moment: each call is at work when it is given up.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_every_call_is_disconnected() {
    let mut scene = Scene::set("").await;
    let mut caller = scene.caller();
    let fields = scene.fields();
    let mut peer = Peer::connect(scene.gate.address(), Settings::default()).await.unwrap();
    let mut given_up = 0;
    // Its body never comes, so the call is at work until it is reset.
    for id in (1..).step_by(2) {
        let opened = peer.send(&[call(id, &fields, true, false), ping()].concat()).await;
        if opened.is_err() || peer.answered_ping().await.is_err() || peer.send(&reset(id)).await.is_err() {
            break;
        }
        given_up += 1;
        assert!(given_up < 20_000, "nobody minds");
    }
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_ends_the_connection() {
    let mut scene = Scene::set("").await;
    let mut caller = scene.caller();
    let end = scene.attack(Attack::Continuation).await;
    calm(&end);
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_pings_and_of_settings_end_the_connection() {
    let mut scene = Scene::set("max_control_frames = 500").await;
    let mut caller = scene.caller();
    for attack in [Attack::Pings, Attack::Settings] {
        scene.attack(attack).await;
    }
    // Empty frames on a call that is open.
    let fields = scene.fields();
    let mut peer = Peer::connect(scene.gate.address(), Settings::default()).await.unwrap();
    peer.send(&call(1, &fields, true, false)).await.unwrap();
    let flood = peer.flood(usize::MAX, || data(1, b"", false).repeat(100));
    tokio::time::timeout(PATIENCE, flood).await.expect("the server ends it").unwrap();
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_pings_and_settings_are_answered() {
    let scene = Scene::set("max_control_frames = 500").await;
    let mut peer = Peer::connect(scene.gate.address(), Settings::default()).await.unwrap();
    for _ in 0..100 {
        peer.send(&[settings(Settings::default()), ping()].concat()).await.unwrap();
        peer.answered_ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_begin_slowly_are_closed_and_keep_nobody_out() {
    let mut scene = Scene::set("handshake_timeout = \"1s\"\nmax_connections = 300").await;
    let mut caller = scene.caller();
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(scene.gate.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"PRI * HTTP").await.unwrap();
        slow.push(stream);
    }
    scene.honest(&mut scene.caller()).await;
    for mut stream in slow {
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("it is closed");
    }
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_never_reads_an_answer_is_disconnected() {
    let mut scene = Scene::set("send_timeout = \"1s\"").await;
    let mut caller = scene.caller();
    let attacks = (0..8).map(|_| scene.attack(Attack::ZeroWindows));
    futures::future::join_all(attacks).await;
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_larger_than_allowed_is_refused_and_costs_no_memory() {
    let mut scene = Scene::set("").await;
    let mut caller = scene.caller();
    // What h2 allows of CONTINUATION frames is not reached: it is the size that is refused.
    let stream = TcpStream::connect(scene.gate.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    cqm_runtime::tasks::detached(connection);
    for kibibytes in [17, 60] {
        let request = http::Request::post(format!("http://cqm{}", Attack::METHOD))
            .header("content-type", "application/grpc")
            .header("x-filler", "f".repeat(kibibytes * 1024))
            .body(())
            .unwrap();
        let (answer, _) = sender.clone().ready().await.unwrap().send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 431, "{kibibytes} KiB");
    }
    let token = scene.gate.token();
    let attack = Attack::HugeHeaders.go_on(scene.gate.address(), &token, Duration::ZERO);
    tokio::select! {
        _ = attack => unreachable!("it goes on for ever"),
        () = async { for _ in 0..200 { scene.honest(&mut scene.caller()).await } } => {}
    }
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_bomb_is_refused_before_it_is_unpacked() {
    let mut scene = Scene::set("").await;
    let mut caller = scene.caller();
    // 60 KiB that would be 10 MiB, and at a hundred at a time a gibibyte.
    let mut bomb = message(&cqm_tests::attack::bomb(60 * 1024));
    bomb[0] = 1;
    let stream = TcpStream::connect(scene.gate.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    cqm_runtime::tasks::detached(connection);
    let bearer = format!("Bearer {}", scene.gate.token());
    for _ in 0..300 {
        let request = http::Request::post(format!("http://cqm{}", Attack::METHOD))
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "gzip")
            .header("authorization", &bearer)
            .body(())
            .unwrap();
        let (answer, mut body) = sender.clone().ready().await.unwrap().send_request(request, false).unwrap();
        let _ = body.send_data(bomb.clone().into(), true);
        let headers = answer.await.unwrap().headers().clone();
        assert_eq!(headers["grpc-status"], (Code::Unimplemented as i32).to_string());
    }
    scene.survives(&mut caller, MEMORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_keep_nobody_out_and_cost_what_is_said() {
    const CONNECTIONS: usize = 10_000;
    let descriptors = cqm_tests::attack::take_all_descriptors().unwrap();
    assert!(descriptors > 11_000, "ulimit -Hn is {descriptors}, too low for this test");

    let mut scene = Scene::set("").await;
    let mut caller = scene.caller();
    let alone = scene.gate.peak_memory();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut peer = Peer::connect(scene.gate.address(), Settings::default()).await.unwrap();
        // Its settings are answered: it is a connection and not only a socket.
        peer.send(&ping()).await.unwrap();
        idle.push(peer);
        if idle.len() % 100 == 0 {
            idle.last_mut().unwrap().answered_ping().await.unwrap();
            scene.honest(&mut caller).await;
        }
    }
    let full = scene.gate.peak_memory();
    scene.survives(&mut caller, alone + IDLE * CONNECTIONS as u64).await;
    println!("{} KiB alone, {} KiB for each connection", alone, (full - alone) / CONNECTIONS as u64);
}
