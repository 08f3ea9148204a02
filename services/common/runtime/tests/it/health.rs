//! What a process tells about itself: health and reflection, to everybody.

use cqm_runtime::server::{Health, Shape};
use cqm_testkit::eventually;
use futures::FutureExt;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{
    CUSTOMERS, INVITATIONS, PATIENCE, Served, config, from_manager, get, refused, serve_desk,
    serve_desk_unready,
};

pub async fn serving(served: &Served, service: &str) -> bool {
    let mut client = HealthClient::new(served.channel().await);
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.unwrap().into_inner().status() == ServingStatus::Serving
}

#[tokio::test]
async fn a_process_is_not_serving_until_it_says_so_and_again_before_it_ends() {
    let mut config = config(Shape::PerCore);
    // The door stays open for longer than the test: what is looked at is the time before it closes.
    config.drain.settle = PATIENCE * 100;
    let served = serve_desk_unready(config).await;
    let mut client = served.customers().await;

    for service in ["", CUSTOMERS, INVITATIONS] {
        assert!(!serving(&served, service).await, "{service}");
    }
    let (code, _) = refused(client.get_customer(from_manager(get("known"))).await);
    assert_eq!(code, Code::Unavailable);

    served.health.ready().await;
    for service in ["", CUSTOMERS, INVITATIONS] {
        assert!(serving(&served, service).await, "{service}");
    }
    client.get_customer(from_manager(get("known"))).await.unwrap();

    served.shutdown.cancel();
    eventually("not serving", || async { !serving(&served, "").await }).await;
    assert!(!serving(&served, CUSTOMERS).await);
    // Balancers need a moment to notice; until then calls are answered, on new connections too.
    client.get_customer(from_manager(get("known"))).await.unwrap();
    served.customers().await.get_customer(from_manager(get("known"))).await.unwrap();
}

macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let served = serve_desk(config(Shape::PerCore)).await;
            let mut client = ServerReflectionClient::new(served.channel().await);
            let ask =
                |question| ServerReflectionRequest { host: String::new(), message_request: Some(question) };
            let questions = tokio_stream::iter([
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol("cqm.customers.v1.Customer".to_owned())),
            ]);
            let mut answers =
                client.server_reflection_info(Request::new(questions)).await.unwrap().into_inner();
            let Some(MessageResponse::ListServicesResponse(list)) =
                answers.message().await.unwrap().unwrap().message_response
            else {
                panic!("a list of services")
            };
            let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            for name in [CUSTOMERS, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
                if name.ends_with("ServerReflection") && stringify!($version) != "v1" {
                    continue;
                }
                assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
            }
            let Some(MessageResponse::FileDescriptorResponse(file)) =
                answers.message().await.unwrap().unwrap().message_response
            else {
                panic!("a file")
            };
            assert!(!file.file_descriptor_proto.is_empty());
        }
    };
}

reflection_test!(reflection_v1_answers_without_credentials, v1);
reflection_test!(reflection_v1alpha_answers_without_credentials, v1alpha);

#[tokio::test]
async fn a_task_that_has_used_up_its_turn_can_make_a_health_all_the_same() {
    // Each lock costs a part of a task's turn; at its end every further one says "later", though it is free.
    let lock = tokio::sync::RwLock::new(());
    while let Some(guard) = lock.write().now_or_never() {
        drop(guard);
    }
    Health::new(&[CUSTOMERS, INVITATIONS]);
}
