//! Rows of customers.

use anyhow::{Context, Result};
use cqm_proto::customers::v1::customer_service_client::CustomerServiceClient;
use cqm_proto::customers::v1::import_customers_response::Outcome as Wire;
use cqm_proto::customers::v1::{
    Customer, Email, ImportCustomersRequest, ImportCustomersResponse, Phone, SourceChannel,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::input::Record;
use super::{Answered, Kind, Outcome};
use crate::connect::Client;

pub struct Customers;

impl Kind for Customers {
    type Request = ImportCustomersRequest;
    type Answer = ImportCustomersResponse;
    const LABEL: &'static str = "customers";

    fn request(row: i64, record: &Record) -> Result<Self::Request> {
        let cell = |column: &str| record.get(column).cloned().unwrap_or_default();
        let some = |column: &str| Some(cell(column)).filter(|cell| !cell.is_empty());
        let source_channel = match some("source_channel") {
            Some(name) => {
                SourceChannel::from_str_name(&format!("SOURCE_CHANNEL_{}", name.to_ascii_uppercase()))
                    .with_context(|| format!("source_channel {name} is not known"))?
            }
            None => SourceChannel::Import,
        };
        let customer = Customer {
            external_reference: cell("external_reference"),
            display_name: cell("display_name"),
            phones: some("phone")
                .into_iter()
                .map(|number| Phone { number, primary: true, ..Phone::default() })
                .collect(),
            emails: some("email").into_iter().map(|address| Email { address, primary: true }).collect(),
            locale: cell("locale"),
            source_channel: source_channel.into(),
            tags: some("tags").map(|tags| tags.split(';').map(str::to_owned).collect()).unwrap_or_default(),
            ..Customer::default()
        };
        Ok(ImportCustomersRequest { row, customer: Some(customer), default_region: cell("default_region") })
    }

    async fn open(
        client: Client,
        rows: ReceiverStream<Self::Request>,
    ) -> Result<Streaming<Self::Answer>, Status> {
        Ok(CustomerServiceClient::new(client).import_customers(rows).await?.into_inner())
    }

    fn read(answer: Self::Answer) -> Answered {
        let outcome = match answer.outcome() {
            Wire::Created => Outcome::New,
            Wire::AlreadyPresent => Outcome::Present,
            Wire::Rejected | Wire::Unspecified => Outcome::Rejected(answer.error.unwrap_or_default()),
        };
        Answered { row: answer.row, outcome, name: answer.name }
    }
}
