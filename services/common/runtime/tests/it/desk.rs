//! A small service of the suite, served for real: its handlers do what the name in the request says.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::customer_service_server::{CustomerService, CustomerServiceServer};
use cqm_proto::customers::v1::{
    CreateCustomerRequest, Customer, DeleteCustomerRequest, GetCustomerRequest, ImportCustomersRequest,
    ImportCustomersResponse, ListCustomersRequest, ListCustomersResponse, UpdateCustomerRequest,
};
use cqm_proto::surveys::v1::invitation_service_server::{InvitationService, InvitationServiceServer};
use cqm_proto::surveys::v1::{
    CreateInvitationRequest, GetInvitationLinkRequest, GetInvitationLinkResponse, GetInvitationRequest,
    Invitation, ListInvitationsRequest, ListInvitationsResponse, OpenInvitationRequest,
    OpenInvitationResponse, QuestionnaireVersion,
};
use cqm_rpc::{Call, Caller, Clock, Error, Failure, Role, serve, serve_stream};
use cqm_runtime::pass::PassGate;
use cqm_runtime::server::{DrainConfig, Health, Options, Running, ServerConfig, Shape, UNARY_LIMIT, bind};
use cqm_testkit::Line;
use tokio::sync::{Notify, mpsc};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

/// What the process is called.
pub const NAME: &str = "desk";
pub const CUSTOMERS: &str = "cqm.customers.v1.CustomerService";
pub const INVITATIONS: &str = "cqm.surveys.v1.InvitationService";
/// No test waits longer for a condition.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the handlers and the test tell each other.
#[derive(Clone, Default)]
pub struct Desk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    entered: Notify,
    release: CancellationToken,
    finished: AtomicBool,
    cancelled: AtomicBool,
}

impl Desk {
    /// Returns when a waiting handler has begun.
    pub async fn entered(&self) {
        tokio::time::timeout(PATIENCE, self.0.entered.notified()).await.expect("the handler begins");
    }

    pub fn release(&self) {
        self.0.release.cancel();
    }

    pub fn finished(&self) -> bool {
        self.0.finished.load(Ordering::SeqCst)
    }

    pub fn cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    async fn wait(&self) {
        let mut guard = Guard { desk: self.clone(), armed: true };
        self.0.entered.notify_one();
        self.0.release.cancelled().await;
        guard.armed = false;
        self.0.finished.store(true, Ordering::SeqCst);
    }

    async fn act(&self, name: &str) -> Result<(), Error> {
        match name {
            "customers/wait" => self.wait().await,
            "customers/panic" => panic!("planted datum {name}"),
            "customers/internal" => return Err(Error::internal(Outer(Inmost))),
            _ => {}
        }
        Ok(())
    }
}

struct Guard {
    desk: Desk,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            self.desk.0.cancelled.store(true, Ordering::SeqCst);
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the outer cause")]
struct Outer(#[source] Inmost);

#[derive(Debug, thiserror::Error)]
#[error("the inmost cause")]
struct Inmost;

#[tonic::async_trait]
impl CustomerService for Desk {
    async fn get_customer(&self, request: Request<GetCustomerRequest>) -> Result<Response<Customer>, Status> {
        serve(request, async |call: Call, message: GetCustomerRequest| {
            self.act(&message.name).await?;
            // The answer tells what the stack established.
            Ok(Customer {
                name: message.name,
                external_reference: call.caller.subject.to_string(),
                tags: vec![
                    call.caller.role_names(),
                    call.trace.to_string(),
                    call.deadline.remaining().as_millis().to_string(),
                    call.path.to_string(),
                ],
                ..Default::default()
            })
        })
        .await
    }

    async fn create_customer(
        &self,
        request: Request<CreateCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        serve(request, async |_, message: CreateCustomerRequest| {
            let customer = message.customer.unwrap_or_default();
            self.act(&customer.external_reference).await?;
            Ok(customer)
        })
        .await
    }

    async fn update_customer(&self, _: Request<UpdateCustomerRequest>) -> Result<Response<Customer>, Status> {
        Err(Status::unknown("planted text of a library"))
    }

    async fn list_customers(
        &self,
        _: Request<ListCustomersRequest>,
    ) -> Result<Response<ListCustomersResponse>, Status> {
        Err(Error::Unimplemented.into())
    }

    async fn delete_customer(&self, _: Request<DeleteCustomerRequest>) -> Result<Response<Customer>, Status> {
        Err(Error::Unimplemented.into())
    }

    type ImportCustomersStream = Pin<Box<dyn Stream<Item = Result<ImportCustomersResponse, Status>> + Send>>;

    async fn import_customers(
        &self,
        request: Request<Streaming<ImportCustomersRequest>>,
    ) -> Result<Response<Self::ImportCustomersStream>, Status> {
        let desk = self.clone();
        serve_stream(request, async |_, rows: Streaming<ImportCustomersRequest>| {
            let answers = rows.then(move |row| {
                let desk = desk.clone();
                async move {
                    let row = row?;
                    let name = row.customer.unwrap_or_default().external_reference;
                    desk.act(&name).await?;
                    Ok(ImportCustomersResponse { row: row.row, name, ..Default::default() })
                }
            });
            Ok(answers)
        })
        .await
    }
}

#[tonic::async_trait]
impl InvitationService for Desk {
    async fn open_invitation(
        &self,
        request: Request<OpenInvitationRequest>,
    ) -> Result<Response<OpenInvitationResponse>, Status> {
        serve(request, async |call: Call, _| {
            let version =
                QuestionnaireVersion { name: call.caller.subject.to_string(), ..Default::default() };
            Ok(OpenInvitationResponse { questionnaire_version: Some(version), ..Default::default() })
        })
        .await
    }

    async fn create_invitation(
        &self,
        _: Request<CreateInvitationRequest>,
    ) -> Result<Response<Invitation>, Status> {
        Err(Error::Unimplemented.into())
    }

    async fn get_invitation(&self, _: Request<GetInvitationRequest>) -> Result<Response<Invitation>, Status> {
        Err(Error::Unimplemented.into())
    }

    async fn list_invitations(
        &self,
        _: Request<ListInvitationsRequest>,
    ) -> Result<Response<ListInvitationsResponse>, Status> {
        Err(Error::Unimplemented.into())
    }

    async fn get_invitation_link(
        &self,
        _: Request<GetInvitationLinkRequest>,
    ) -> Result<Response<GetInvitationLinkResponse>, Status> {
        Err(Error::Unimplemented.into())
    }
}

/// The desk behind the suite's server.
pub struct Served {
    pub desk: Desk,
    pub health: Health,
    pub shutdown: CancellationToken,
    pub running: Running,
}

/// Short where the defaults are long.
pub fn config(shape: Shape) -> ServerConfig {
    ServerConfig {
        shape,
        shards: 2,
        drain: DrainConfig { settle: Duration::ZERO, timeout: PATIENCE },
        ..ServerConfig::on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

pub async fn serve_desk(config: ServerConfig) -> Served {
    let served = serve_desk_unready(config).await;
    served.health.ready().await;
    served
}

pub async fn serve_desk_unready(config: ServerConfig) -> Served {
    let desk = Desk::default();
    let health = Health::new(&[CUSTOMERS, INVITATIONS]);
    let bound = bind(&config).expect("a free port");
    let options = Options { sampling: crate::telemetry::sampling(), ..Options::new(health.clone()) };
    let shutdown = options.shutdown.clone();
    let handlers = desk.clone();
    let make = move |_| {
        let customers = CustomerServiceServer::new(handlers.clone()).max_decoding_message_size(UNARY_LIMIT);
        Ok(Routes::new(customers).add_service(InvitationServiceServer::new(handlers.clone())))
    };
    let running = bound.serve(options, gate(NAME), make).await.expect("the server starts");
    Served { desk, health, shutdown, running }
}

impl Served {
    pub async fn channel(&self) -> Line {
        Line::to(self.running.address(), NAME, Clock::system()).await
    }

    pub async fn customers(&self) -> CustomerServiceClient<Line> {
        CustomerServiceClient::new(self.channel().await)
    }
}

/// The gate of a service of this name.
pub fn gate(service: &str) -> PassGate {
    PassGate::new(&cqm_testkit::passes(), service, Clock::system()).expect("the keys of the tests")
}

/// A request of a service manager.
pub fn from_manager<T>(message: T) -> Request<T> {
    from(&[Role::ServiceManager], message)
}

/// A request of somebody with these roles.
pub fn from<T>(roles: &[Role], message: T) -> Request<T> {
    cqm_testkit::named(staff(roles), message)
}

pub fn staff(roles: &[Role]) -> Caller {
    Caller { subject: "staff-7".into(), roles: roles.to_vec() }
}

/// A service manager's pass for a method of the desk.
pub async fn pass(path: &str) -> http::HeaderValue {
    let mut headers = http::HeaderMap::new();
    let passes = cqm_testkit::mint(Clock::system()).for_service(NAME);
    passes.stamp(&mut headers, path, &staff(&[Role::ServiceManager])).await.unwrap();
    headers.remove(cqm_rpc::metadata::PASS).unwrap()
}

pub fn get(name: &str) -> GetCustomerRequest {
    GetCustomerRequest { name: format!("customers/{name}"), ..Default::default() }
}

pub fn create(name: &str) -> CreateCustomerRequest {
    CreateCustomerRequest { customer: Some(customer(name)), ..Default::default() }
}

fn customer(name: &str) -> Customer {
    Customer { external_reference: format!("customers/{name}"), ..Default::default() }
}

pub fn row(row: i64, name: &str) -> ImportCustomersRequest {
    ImportCustomersRequest { row, customer: Some(customer(name)), ..Default::default() }
}

/// The two halves of an import.
pub async fn import(
    client: &mut CustomerServiceClient<Line>,
) -> (mpsc::Sender<ImportCustomersRequest>, Streaming<ImportCustomersResponse>) {
    let (rows, stream) = mpsc::channel(4);
    let answers = client.import_customers(from_manager(ReceiverStream::new(stream))).await;
    (rows, answers.expect("the import begins").into_inner())
}

/// Code and reason, which is what callers decide by.
#[track_caller]
pub fn refused<T>(answer: Result<T, Status>) -> (tonic::Code, String) {
    let Err(status) = answer else { panic!("the call was answered") };
    let failure = Failure::of(&status);
    (failure.code, failure.reason)
}
