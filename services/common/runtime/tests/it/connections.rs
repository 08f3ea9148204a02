//! Connections: who is let in, how long they live, how they are asked to go.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cqm_rpc::metadata;
use cqm_runtime::server::{ServerConfig, Shape, bind};
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::desk::{NAME, PATIENCE, config, from_manager, gate, get, pass, serve_desk};

/// A bare HTTP/2 connection: GOAWAY and the end of the connection are seen, and headers go as they are.
pub async fn connect(address: SocketAddr) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    (send, detached(connection))
}

async fn ask(name: &str) -> http::Request<Full<Bytes>> {
    let name = format!("customers/{name}");
    let mut body = vec![0, 0, 0, 0, name.len() as u8 + 2, 0x0a, name.len() as u8];
    body.extend(name.as_bytes());
    let path = "/cqm.customers.v1.CustomerService/GetCustomer";
    http::Request::post(format!("http://cqm{path}"))
        .header("content-type", "application/grpc")
        .header(metadata::PASS, pass(path).await)
        .header(metadata::TIMEOUT, "20S")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

#[tokio::test]
async fn an_aged_connection_is_asked_to_go_and_its_call_is_answered() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let config = ServerConfig {
            connection_age: Duration::from_millis(100),
            connection_grace: PATIENCE * 10,
            ..config(shape)
        };
        let served = serve_desk(config).await;
        let (mut send, connection) = connect(served.running.address()).await;
        let waiting = send.send_request(ask("wait").await);
        served.desk.entered().await;

        // After GOAWAY the client's side takes no further request; the call at work is untouched.
        eventually("GOAWAY", || {
            let mut send = send.clone();
            async move { send.ready().await.is_err() || send.send_request(ask("known").await).await.is_err() }
        })
        .await;
        assert!(!served.desk.cancelled());
        served.desk.release();
        let answer = waiting.await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");

        // And then the connection is over, cleanly.
        tokio::time::timeout(PATIENCE, connection).await.expect("it ends").unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_grace_of_an_aged_connection_ends() {
    let config = ServerConfig {
        connection_age: Duration::from_millis(50),
        connection_grace: Duration::from_millis(50),
        ..config(Shape::PerCore)
    };
    let served = serve_desk(config).await;
    let (mut send, connection) = connect(served.running.address()).await;
    let waiting = send.send_request(ask("wait").await);
    served.desk.entered().await;
    tokio::time::timeout(PATIENCE, waiting).await.expect("it is cut").unwrap_err();
    eventually("the cancelled read", || async { served.desk.cancelled() }).await;
    let _ = tokio::time::timeout(PATIENCE, connection).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_closed() {
    let config = ServerConfig { handshake_timeout: Duration::from_millis(50), ..config(Shape::PerCore) };
    let served = serve_desk(config).await;
    for words in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut silent = TcpStream::connect(served.running.address()).await.unwrap();
        silent.write_all(words).await.unwrap();
        let mut heard = Vec::new();
        let read = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut heard)).await.expect("it ends");
        assert!(read.is_err() || heard.is_empty());
    }
}

#[tokio::test]
async fn http_1_is_told_what_this_address_speaks() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut browser = TcpStream::connect(served.running.address()).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nhost: cqm\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    // The reset for what we did not read may come after the answer.
    let _ = tokio::time::timeout(PATIENCE, browser.read_to_string(&mut heard)).await.expect("it ends");
    let (head, body) = heard.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 505"), "{heard}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{heard}");
}

#[tokio::test]
async fn http_2_that_is_no_grpc_is_told_so() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let (mut send, _connection) = connect(served.running.address()).await;
    let get = http::Request::get("http://cqm/").body(Full::default()).unwrap();
    assert_eq!(send.send_request(get).await.unwrap().status(), 415);
    let mut json = ask("known").await;
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(send.send_request(json).await.unwrap().status(), 415);
}

#[tokio::test]
async fn connections_over_the_limit_wait_while_everybody_is_at_work() {
    let served = serve_desk(ServerConfig { max_connections: 1, shards: 1, ..config(Shape::PerCore) }).await;
    let (mut first, _) = connect(served.running.address()).await;
    let at_work = first.send_request(ask("wait").await);
    served.desk.entered().await;
    let (mut second, _) = connect(served.running.address()).await;
    let waiting = detached(async move { second.send_request(ask("known").await).await.unwrap().status() });
    for _ in 0..10 {
        assert_eq!(first.send_request(ask("known").await).await.unwrap().status(), 200);
    }
    assert!(!waiting.is_finished());
    served.desk.release();
    at_work.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.expect("it is let in").unwrap(), 200);
}

#[tokio::test]
async fn silent_and_idle_connections_make_room_for_who_comes_now() {
    let served = serve_desk(ServerConfig { max_connections: 8, shards: 1, ..config(Shape::PerCore) }).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(served.running.address()).await.unwrap());
    }
    let mut idle = Vec::new();
    for _ in 0..16 {
        let (mut send, connection) = connect(served.running.address()).await;
        assert_eq!(send.send_request(ask("known").await).await.unwrap().status(), 200);
        idle.push((send, connection));
    }
    // The oldest had to go, one by one; the newest is still here.
    let (mut newest, _) = idle.pop().unwrap();
    assert_eq!(newest.send_request(ask("known").await).await.unwrap().status(), 200);
    let (_, oldest) = idle.swap_remove(0);
    let _ = tokio::time::timeout(PATIENCE, oldest).await.expect("it was sent away");
    for mut socket in silent {
        let mut heard = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut heard)).await.expect("it was closed");
    }
}

/// A gateway's connection has the calls of all its callers.
#[tokio::test]
async fn who_brings_the_calls_of_many_is_not_cut_for_those_who_hang_up() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let (send, connection) = connect(served.running.address()).await;
    for _ in 0..300 {
        let call = detached(send.clone().send_request(ask("wait").await));
        served.desk.entered().await;
        call.abort();
    }
    assert_eq!(send.clone().send_request(ask("known").await).await.unwrap().status(), 200);
    assert!(!connection.is_finished());
}

#[tokio::test]
async fn watching_health_has_a_limit_and_asking_has_none() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let (mut send, _connection) = connect(served.running.address()).await;
    let mut about_health = async |method: &str| {
        let ask = http::Request::post(format!("http://cqm/grpc.health.v1.Health/{method}"))
            .header("content-type", "application/grpc")
            .body(Full::new(Bytes::from_static(&[0; 5])))
            .unwrap();
        let answer = send.send_request(ask).await.unwrap();
        let refused = answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        (answer, refused)
    };
    let mut watches = Vec::new();
    for _ in 0..8 {
        let (watch, refused) = about_health("Watch").await;
        assert_eq!(refused, None);
        watches.push(watch);
    }
    let unavailable = (tonic::Code::Unavailable as i32).to_string();
    assert_eq!(about_health("Watch").await.1, Some(unavailable));
    assert_eq!(about_health("Check").await.1, None);
}

#[tokio::test]
async fn a_connection_that_has_been_idle_for_long_enough_is_asked_to_go() {
    let config = ServerConfig { idle_timeout: Duration::from_millis(100), ..config(Shape::PerCore) };
    let served = serve_desk(config).await;
    let (mut send, connection) = connect(served.running.address()).await;
    assert_eq!(send.send_request(ask("known").await).await.unwrap().status(), 200);
    tokio::time::timeout(PATIENCE, connection).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn shards_share_one_address_and_each_makes_its_own_service() {
    let config = ServerConfig { shards: 3, ..config(Shape::PerCore) };
    let bound = bind(&config).unwrap();
    assert_ne!(bound.address().port(), 0);
    let health = cqm_runtime::server::Health::new(&[]);
    let options = cqm_runtime::server::Options::new(health);
    let shutdown = options.shutdown.clone();
    let made = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = made.clone();
    let running = bound
        .serve(options, gate(NAME), move |shard| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            seen.lock().unwrap().push((shard.index, shard.count, thread));
            Ok(tonic::service::Routes::default())
        })
        .await
        .unwrap();
    let mut made = made.lock().unwrap().clone();
    made.sort();
    let expected: Vec<_> = (0..3).map(|index| (index, 3, format!("shard-{index}"))).collect();
    assert_eq!(made, expected);
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, running.join()).await.expect("it ends");
}

#[tokio::test]
async fn a_shard_that_cannot_be_made_keeps_the_process_from_starting() {
    let bound = bind(&config(Shape::PerCore)).unwrap();
    let address = bound.address();
    let options = cqm_runtime::server::Options::new(cqm_runtime::server::Health::new(&[]));
    let error = bound
        .serve(options, gate(NAME), |shard| match shard.index {
            0 => Ok(tonic::service::Routes::default()),
            _ => Err("no pool for this shard".into()),
        })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no pool for this shard");
    eventually("the closed door", || async { TcpStream::connect(address).await.is_err() }).await;
}

#[tokio::test]
async fn both_shapes_answer() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(config(shape)).await;
        // More connections than shards, so that each shard has some.
        for _ in 0..8 {
            served.customers().await.get_customer(from_manager(get("known"))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_address_that_somebody_listens_on_is_taken_in_either_shape() {
    let served = serve_desk(config(Shape::PerCore)).await;
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let second = ServerConfig { listen: served.running.address(), ..config(shape) };
        let Err(error) = bind(&second) else { panic!("{shape:?} took an address that is taken") };
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{shape:?}");
    }
}
