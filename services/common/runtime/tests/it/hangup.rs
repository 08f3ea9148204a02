//! Callers who hang up.

use cqm_runtime::server::{ServerConfig, Shape};
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;

use crate::desk::{Served, config, create, from_manager, get, import, refused, row, serve_desk};

/// Frames of one connection are read in order: when this call is answered, the reset before it was seen.
async fn the_reset_was_seen(
    client: &mut cqm_proto::customers::v1::customer_service_client::CustomerServiceClient<cqm_testkit::Line>,
) {
    let _ = client.get_customer(from_manager(get("known"))).await;
}

async fn hung_up_mutation(served: &Served) {
    let mut client = served.customers().await;
    let mut caller = client.clone();
    let call = detached(async move { caller.create_customer(from_manager(create("wait"))).await });
    served.desk.entered().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    the_reset_was_seen(&mut client).await;
}

#[tokio::test]
async fn hanging_up_does_not_cancel_a_mutation() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(config(shape)).await;
        hung_up_mutation(&served).await;
        assert!(!served.desk.cancelled() && !served.desk.finished());
        served.desk.release();
        eventually("the end of the mutation", || async { served.desk.finished() }).await;
        assert!(!served.desk.cancelled());
    }
}

#[tokio::test]
async fn a_mutation_without_a_caller_keeps_its_place() {
    let served = serve_desk(ServerConfig { max_in_flight: 1, ..config(Shape::PerCore) }).await;
    hung_up_mutation(&served).await;
    let mut client = served.customers().await;
    let (code, reason) = refused(client.get_customer(from_manager(get("known"))).await);
    assert_eq!((code, reason.as_str()), (tonic::Code::Unavailable, "OVERLOADED"));
    served.desk.release();
    eventually("a free place", || {
        let mut client = client.clone();
        async move { client.get_customer(from_manager(get("known"))).await.is_ok() }
    })
    .await;
}

#[tokio::test]
async fn hanging_up_cancels_a_read() {
    for shape in [Shape::PerCore, Shape::MultiThread] {
        let served = serve_desk(config(shape)).await;
        let mut caller = served.customers().await;
        let call = detached(async move { caller.get_customer(from_manager(get("wait"))).await });
        served.desk.entered().await;
        call.abort();
        eventually("the cancellation", || async { served.desk.cancelled() }).await;
        assert!(!served.desk.finished());
    }
}

#[tokio::test]
async fn hanging_up_does_not_cut_a_row_of_an_import() {
    let served = serve_desk(config(Shape::PerCore)).await;
    let mut client = served.customers().await;
    let (rows, mut answers) = import(&mut client).await;
    rows.send(row(1, "quick")).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().row, 1);
    rows.send(row(2, "wait")).await.unwrap();
    served.desk.entered().await;
    drop((rows, answers));
    the_reset_was_seen(&mut client).await;
    assert!(!served.desk.cancelled());
    served.desk.release();
    eventually("the end of the row", || async { served.desk.finished() }).await;
    assert!(!served.desk.cancelled());
}
