//! The end of a process: bounded, whatever its clients do.

use std::time::{Duration, Instant};

use cqm_runtime::server::{ServerConfig, Shape};
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{PATIENCE, config, create, from_manager, get, import, refused, row, serve_desk};

fn with_drain(shape: Shape, timeout: Duration) -> ServerConfig {
    let mut config = config(shape);
    config.drain.timeout = timeout;
    config
}

#[tokio::test]
async fn a_call_at_work_is_answered_before_the_process_ends() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(with_drain(shape, PATIENCE)).await;
        let mut client = served.customers().await;
        let call = detached(async move { client.create_customer(from_manager(create("wait"))).await });
        served.desk.entered().await;
        let address = served.running.address();
        served.shutdown.cancel();
        eventually("the closed door", || async { TcpStream::connect(address).await.is_err() }).await;
        assert!(!call.is_finished());
        served.desk.release();
        call.await.unwrap().unwrap();
        tokio::time::timeout(PATIENCE, served.running.join()).await.expect("it ends");
    }
}

#[tokio::test]
async fn a_mutation_without_a_caller_is_waited_for() {
    let served = serve_desk(with_drain(Shape::PerCore, PATIENCE)).await;
    let mut client = served.customers().await;
    let call = detached(async move { client.create_customer(from_manager(create("wait"))).await });
    served.desk.entered().await;
    call.abort();
    served.shutdown.cancel();
    let address = served.running.address();
    eventually("the closed door", || async { TcpStream::connect(address).await.is_err() }).await;
    let ended = detached(served.running.join());
    assert!(!ended.is_finished());
    served.desk.release();
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends").unwrap();
    assert!(served.desk.finished());
}

#[tokio::test]
async fn open_streams_and_silent_connections_do_not_hold_the_process() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(with_drain(shape, Duration::from_millis(200))).await;
        let mut client = served.customers().await;
        let (rows, mut answers) = import(&mut client).await;
        rows.send(row(1, "quick")).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().row, 1);
        let silent = TcpStream::connect(served.running.address()).await.unwrap();

        let started = Instant::now();
        served.shutdown.cancel();
        let (code, reason) = refused(answers.message().await);
        assert_eq!((code, reason.as_str()), (Code::Unavailable, "DRAINING"));
        tokio::time::timeout(PATIENCE, served.running.join()).await.expect("it ends");
        // Not before the drain's time, or the stream was not given any.
        assert!(started.elapsed() >= Duration::from_millis(200));
        drop((rows, silent));
    }
}

#[tokio::test]
async fn a_call_that_never_ends_is_cut() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(with_drain(shape, Duration::from_millis(100))).await;
        let mut client = served.customers().await;
        let call = detached(async move { client.get_customer(from_manager(get("wait"))).await });
        served.desk.entered().await;
        served.shutdown.cancel();
        tokio::time::timeout(PATIENCE, served.running.join()).await.expect("it ends");
        call.await.unwrap().unwrap_err();
        eventually("the cancelled read", || async { served.desk.cancelled() }).await;
    }
}

#[tokio::test]
async fn a_health_watch_hears_the_news_and_does_not_hold_the_drain() {
    let served = serve_desk(with_drain(Shape::PerCore, PATIENCE * 10)).await;
    let mut client = HealthClient::new(served.channel().await);
    let mut news = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(news.message().await.unwrap().unwrap().status, 1);
    served.shutdown.cancel();
    tokio::time::timeout(PATIENCE, served.running.join())
        .await
        .expect("it ends long before the drain's time");
    // "Not serving" may be overtaken by the end; what may not happen is silence.
    match news.message().await {
        Ok(Some(news)) => assert_eq!(news.status, 2),
        other => assert_eq!(refused(other).0, Code::Unavailable),
    }
}
