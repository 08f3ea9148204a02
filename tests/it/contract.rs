//! The contract's table of bad inputs, row by row, as a caller of the whole suite meets it: through the gateway.
//!
//! Rows that no caller can meet yet, and where they are checked instead, if anywhere:
//!
//! - decompression bomb: no process accepts a compression, so that a compressed message is refused for its
//!   compression before anybody unpacks it (`transport`).
//! - NaN: no message of the contract has a floating-point field.
//! - batch empty, too large, repeating an id: no method takes a batch in one message; bulk methods are streams.
//! - no consent, suppressed, quiet hours; webhook addresses: the methods do not exist yet.
//! - quota: nobody here asks for enough; the gateway's own tests do (`quota.rs`).
//! - not yours: no caller sees only a part of the rows. Who has only a link is told about wrong ones in `state`.
//! - draining, a panic: nothing that a caller sends leads there; the runtime's own tests make them happen
//!   (`drain.rs`, `wire.rs`).
//! - scripts and formulas "escaped wherever they are shown": the suite shows nothing itself; the API carries them as
//!   they are (`text`).

mod identity;
mod outages;
mod shape;
mod state;
mod text;
mod transport;
mod wire;

use std::fmt::Debug;

use cqm_proto::complaints::v1::complaint::Channel as CameBy;
use cqm_proto::complaints::v1::complaint_service_client::ComplaintServiceClient;
use cqm_proto::complaints::v1::sla_policy_service_client::SlaPolicyServiceClient;
use cqm_proto::complaints::v1::{Category, Complaint, RegisterComplaintRequest};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::{CreateCustomerRequest, Customer, DeleteCustomerRequest};
use cqm_proto::google::rpc;
use cqm_proto::loyalty::v1::ledger_service_client::LedgerServiceClient;
use cqm_proto::loyalty::v1::member_service_client::MemberServiceClient;
use cqm_rpc::{Failure, reason};
use cqm_tests::{Bearer, Caller};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::journey::Stage;
use wire::Wire;

/// The suite, and a service manager who calls it.
struct Desk {
    stage: Stage,
    staff: Caller,
    internal: Caller,
    stranger: Channel,
}

impl Desk {
    async fn open() -> Self {
        let stage = Stage::set().await;
        let callers = stage.callers();
        Self { stage, staff: callers.staff, internal: callers.internal, stranger: callers.stranger }
    }

    async fn close(self) {
        self.stage.suite.stop().await;
    }

    fn address(&self) -> String {
        self.stage.suite.address().to_string()
    }

    async fn wire(&self) -> Wire {
        Wire::to(&self.address()).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.stage.token("service_manager"))
    }

    fn customers(&self) -> CustomerServiceClient<Caller> {
        CustomerServiceClient::new(self.staff.clone())
    }

    /// As one who sees all of a customer.
    fn customers_in_clear(&self) -> CustomerServiceClient<Caller> {
        CustomerServiceClient::new(Bearer::caller(&self.address(), &self.stage.token("crm_specialist")))
    }

    fn complaints(&self) -> ComplaintServiceClient<Caller> {
        ComplaintServiceClient::new(self.staff.clone())
    }

    fn sla_policies(&self) -> SlaPolicyServiceClient<Caller> {
        SlaPolicyServiceClient::new(self.staff.clone())
    }

    fn ledger(&self) -> LedgerServiceClient<Caller> {
        LedgerServiceClient::new(self.staff.clone())
    }

    fn members(&self) -> MemberServiceClient<Caller> {
        MemberServiceClient::new(self.staff.clone())
    }

    async fn customer(&self) -> Customer {
        self.customers().create_customer(create(named("Han Meimei"))).await.unwrap().into_inner()
    }

    /// Somebody who was here and is erased.
    async fn erased(&self) -> String {
        let name = self.customer().await.name;
        let delete = DeleteCustomerRequest { name: name.clone(), ..Default::default() };
        self.customers().delete_customer(delete).await.unwrap();
        name
    }

    /// A new complaint of somebody.
    async fn complaint(&self) -> Complaint {
        let register = register(about("It does not work"));
        self.complaints().register_complaint(register).await.unwrap().into_inner()
    }
}

fn named(name: &str) -> Customer {
    Customer { display_name: name.to_owned(), ..Default::default() }
}

fn create(customer: Customer) -> CreateCustomerRequest {
    CreateCustomerRequest { customer: Some(customer), request_id: fresh(), ..Default::default() }
}

pub fn about(subject: &str) -> Complaint {
    Complaint {
        customer: nobody("customers"),
        channel: CameBy::Phone.into(),
        category: Category::ProductQuality.into(),
        subject: subject.to_owned(),
        ..Default::default()
    }
}

pub fn register(complaint: Complaint) -> RegisterComplaintRequest {
    RegisterComplaintRequest { complaint: Some(complaint), request_id: fresh() }
}

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

/// A name that nothing has.
pub fn nobody(collection: &str) -> String {
    format!("{collection}/{}", Uuid::now_v7())
}

/// What a caller gets to see of a refusal.
#[derive(Clone)]
struct Refused {
    failure: Failure,
    /// The kinds of details in their order, without their package.
    details: Vec<String>,
    bytes: (Code, String, Vec<u8>),
}

impl Refused {
    fn fact(&self, key: &str) -> &str {
        self.failure.facts.get(key).map_or("", String::as_str)
    }

    /// The bytes with one word for another of the same length.
    fn instead(&self, word: &str, other: &str) -> (Code, String, Vec<u8>) {
        assert_eq!(word.len(), other.len(), "lengths stand in the bytes");
        let (code, message, details) = &self.bytes;
        let mut details = details.clone();
        for at in 0..details.len().saturating_sub(word.len() - 1) {
            if &details[at..at + word.len()] == word.as_bytes() {
                details[at..at + word.len()].copy_from_slice(other.as_bytes());
            }
        }
        (*code, message.replace(word, other), details)
    }
}

/// Reads a refusal and checks what every one must keep: one ErrorInfo, the domain of the reason, a size that headers
/// can carry. Fails when there was an answer, another code or another reason.
#[track_caller]
fn refused<A: Debug>(outcome: Result<Response<A>, Status>, code: Code, reason: &str) -> Refused {
    let status = outcome.expect_err("the call is refused");
    told(&status, code, reason)
}

#[track_caller]
fn told(status: &Status, code: Code, reason: &str) -> Refused {
    let failure = Failure::of(status);
    assert_eq!((failure.code, failure.reason.as_str()), (code, reason), "{failure}");
    let shared = reason::ALL.iter().any(|known| known.name == reason);
    assert_eq!(failure.domain == "cqm", shared, "{failure} in {}", failure.domain);
    assert!(
        shared || (failure.domain.starts_with("cqm.") && failure.domain.ends_with(".v1")),
        "{}",
        failure.domain
    );

    let wire = rpc::Status::decode(status.details()).unwrap();
    assert_eq!((wire.code, wire.message.as_str()), (status.code() as i32, status.message()), "{failure}");
    let kind = |any: &prost_types::Any| {
        any.type_url.trim_start_matches("type.googleapis.com/google.rpc.").to_owned()
    };
    let details: Vec<String> = wire.details.iter().map(kind).collect();
    assert_eq!(details.iter().filter(|kind| *kind == "ErrorInfo").count(), 1, "{details:?}");
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let size: usize = headers.values().map(|value| value.len()).sum();
    assert!(size <= 4096, "{size} bytes of headers");
    assert!(failure.violations.len() <= 16, "{} violations", failure.violations.len());
    Refused {
        failure,
        details,
        bytes: (status.code(), status.message().to_owned(), status.details().to_vec()),
    }
}
