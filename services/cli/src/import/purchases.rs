//! Rows of purchases.

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use cqm_proto::customers::v1::purchase_service_client::PurchaseServiceClient;
use cqm_proto::customers::v1::record_purchases_request::Owner;
use cqm_proto::customers::v1::record_purchases_response::Outcome as Wire;
use cqm_proto::customers::v1::{RecordPurchasesRequest, RecordPurchasesResponse};
use cqm_proto::google::r#type::Money;
use cqm_rpc::time;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::input::Record;
use super::{Answered, Kind, Outcome};
use crate::connect::Client;

pub struct Purchases;

impl Kind for Purchases {
    type Request = RecordPurchasesRequest;
    type Answer = RecordPurchasesResponse;
    const LABEL: &'static str = "purchases";

    fn request(row: i64, record: &Record) -> Result<Self::Request> {
        let cell = |column: &str| record.get(column).cloned().unwrap_or_default();
        let purchase_time: DateTime<Utc> =
            cell("purchase_time").parse().context("purchase_time is no RFC 3339 time")?;
        let (units, nanos) = money(&cell("amount"))?;
        Ok(RecordPurchasesRequest {
            row,
            owner: Some(Owner::CustomerExternalReference(cell("customer_external_reference"))),
            purchase_reference: cell("purchase_reference"),
            purchase_time: Some(time::wire(purchase_time)),
            amount: Some(Money { currency_code: cell("currency"), units, nanos }),
            quantity: cell("quantity").parse().context("quantity is no whole number")?,
            product: cell("product"),
        })
    }

    async fn open(
        client: Client,
        rows: ReceiverStream<Self::Request>,
    ) -> Result<Streaming<Self::Answer>, Status> {
        Ok(PurchaseServiceClient::new(client).record_purchases(rows).await?.into_inner())
    }

    fn read(answer: Self::Answer) -> Answered {
        let outcome = match answer.outcome() {
            Wire::Recorded => Outcome::New,
            Wire::AlreadyRecorded => Outcome::Present,
            Wire::Rejected | Wire::Unspecified => Outcome::Rejected(answer.error.unwrap_or_default()),
        };
        Answered { row: answer.row, outcome, name: answer.purchase }
    }
}

/// `29.33` as whole units and billionths, without ever being a float.
pub fn money(text: &str) -> Result<(i64, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    ensure!(
        fraction.len() <= 9 && fraction.bytes().all(|c| c.is_ascii_digit()),
        "amount is no decimal number"
    );
    let units = whole.parse().context("amount is no decimal number")?;
    let nanos: i32 = format!("{fraction:0<9}").parse().context("amount is no decimal number")?;
    Ok((units, if whole.starts_with('-') { -nanos } else { nanos }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        assert_eq!(money("29.33").unwrap(), (29, 330_000_000));
        assert_eq!(money("7").unwrap(), (7, 0));
        assert_eq!(money("0.000000001").unwrap(), (0, 1));
        assert_eq!(money("-0.50").unwrap(), (0, -500_000_000));
        for wrong in ["", "x", "1.x", "1.0000000001", "1.-5", "--1"] {
            assert!(money(wrong).is_err(), "{wrong}");
        }
    }
}
