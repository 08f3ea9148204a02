//! A served customer-data and the people who work with it.

use cqm_customer_data::{App, Config};
use cqm_db::log::LoggedEvent;
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::*;
use cqm_proto::google::r#type::{Date, Money};
use cqm_rpc::Failure;
use cqm_testkit::{Kit, Line};
pub use cqm_testkit::{request_id, specialist, violations};
use prost_types::Timestamp;
use tonic::Status;

/// Small, so that a test's rows make several batches.
pub const CONFIG: Config = Config { batch_rows: 50, report_keys: Vec::new() };

/// Well formed, and nobody's.
pub const NOBODY: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8057";
/// 2026-01-15T01:30:00Z, when tests happen.
pub const NOW_SECONDS: i64 = 1_768_440_600;

pub struct Desk {
    pub kit: Kit,
    pub customers: CustomerServiceClient<Line>,
    pub purchases: PurchaseServiceClient<Line>,
    pub interactions: InteractionServiceClient<Line>,
}

impl Desk {
    pub async fn open() -> Self {
        Self::with(CONFIG).await
    }

    pub async fn with(config: Config) -> Self {
        let kit = Kit::start::<App>(config).await;
        Self {
            customers: CustomerServiceClient::new(kit.channel.clone()),
            purchases: PurchaseServiceClient::new(kit.channel.clone()),
            interactions: InteractionServiceClient::new(kit.channel.clone()),
            kit,
        }
    }

    /// Creates a customer and looks at its event.
    pub async fn created(&mut self, customer: Customer) -> Customer {
        let created =
            self.customers.create_customer(specialist(create(customer))).await.unwrap().into_inner();
        self.kit.events.only::<cqm_proto::events::v1::CustomerCreated>().await;
        created
    }

    pub async fn get(&self, name: &str) -> Result<Customer, Failure> {
        let message = GetCustomerRequest { name: name.to_owned(), minimum_etag: String::new() };
        answer(self.customers.clone().get_customer(specialist(message)).await)
    }

    pub async fn import(&self, rows: Vec<ImportCustomersRequest>) -> Vec<ImportCustomersResponse> {
        let rows = tokio_stream::iter(rows);
        let mut answers =
            self.customers.clone().import_customers(specialist(rows)).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            all.push(answer);
        }
        all
    }

    pub async fn record(&self, rows: Vec<RecordPurchasesRequest>) -> Vec<RecordPurchasesResponse> {
        let rows = tokio_stream::iter(rows);
        let mut answers =
            self.purchases.clone().record_purchases(specialist(rows)).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            all.push(answer);
        }
        all
    }

    /// The events since the last look: type without its package, aggregate and version.
    pub async fn events(&mut self) -> Vec<(String, String, i64)> {
        self.kit.events.next().await.into_iter().map(told).collect()
    }
}

fn told(event: LoggedEvent) -> (String, String, i64) {
    let kind = event.event_type.rsplit('.').next().unwrap_or_default().to_owned();
    (kind, event.aggregate, event.aggregate_version)
}

pub fn answer<A>(answer: Result<tonic::Response<A>, Status>) -> Result<A, Failure> {
    answer.map(tonic::Response::into_inner).map_err(|status| Failure::of(&status))
}

/// The refusal of a row.
pub fn row_failure(error: Option<&cqm_proto::google::rpc::Status>) -> Failure {
    error.expect("a refused row says why").into()
}

pub fn create(customer: Customer) -> CreateCustomerRequest {
    CreateCustomerRequest { customer: Some(customer), ..Default::default() }
}

pub fn delete(name: &str) -> DeleteCustomerRequest {
    DeleteCustomerRequest { name: name.to_owned(), ..Default::default() }
}

pub fn update(customer: Customer, paths: &[&str]) -> UpdateCustomerRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    UpdateCustomerRequest {
        customer: Some(customer),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

pub fn named(name: &str) -> Customer {
    Customer { display_name: name.to_owned(), ..Default::default() }
}

pub fn referenced(reference: &str) -> Customer {
    Customer { external_reference: reference.to_owned(), ..named("Han Meimei") }
}

pub fn import(row: i64, customer: Customer) -> ImportCustomersRequest {
    ImportCustomersRequest { row, customer: Some(customer), default_region: String::new() }
}

/// Everything that can be said about a customer, as people type it.
pub fn typed() -> Customer {
    Customer {
        display_name: " Li \u{3000} Lei ".to_owned(),
        phones: vec![
            Phone { number: "010-6552 9988".into(), label: phone::Label::Work.into(), primary: false },
            Phone { number: "１３８ 0013 8000".into(), label: phone::Label::Mobile.into(), primary: true },
        ],
        emails: vec![Email { address: "Li.Lei@Example.COM".into(), primary: false }],
        addresses: vec![Address {
            country_code: "cn".into(),
            region: "北京市".into(),
            city: "北京".into(),
            lines: vec!["长安街 1 号".into()],
            postal_code: "100000".into(),
        }],
        birthday: Some(Date { year: 0, month: 2, day: 29 }),
        gender: Gender::Male.into(),
        locale: "EN".into(),
        source_channel: SourceChannel::Questionnaire.into(),
        tags: vec!["VIP".into(), "b2c".into(), "vip".into()],
        external_reference: "crm/7".into(),
        ..Default::default()
    }
}

pub fn purchase(row: i64, customer: &str, reference: &str) -> RecordPurchasesRequest {
    RecordPurchasesRequest {
        row,
        owner: Some(record_purchases_request::Owner::Customer(customer.to_owned())),
        purchase_reference: reference.to_owned(),
        purchase_time: seconds(NOW_SECONDS - 60),
        amount: money("USD", 29, 330_000_000),
        quantity: 2,
        product: "CD".to_owned(),
    }
}

pub fn purchase_of(row: i64, external_reference: &str, reference: &str) -> RecordPurchasesRequest {
    let owner = record_purchases_request::Owner::CustomerExternalReference(external_reference.to_owned());
    RecordPurchasesRequest { owner: Some(owner), ..purchase(row, "", reference) }
}

pub fn contact(customer: &str, summary: &str) -> RecordInteractionRequest {
    RecordInteractionRequest {
        customer: customer.to_owned(),
        interaction: Some(Interaction {
            kind: interaction::Kind::Enquiry.into(),
            channel: interaction::Channel::Phone.into(),
            summary: summary.to_owned(),
            ..Default::default()
        }),
        request_id: String::new(),
    }
}

pub fn money(currency_code: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency_code.to_owned(), units, nanos })
}

pub fn seconds(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}
