//! Purchases: rows of a stream and the resource.

use chrono::{DateTime, Utc};
use cqm_proto::customers::v1 as proto;
use cqm_proto::customers::v1::record_purchases_request::Owner as OwnerMessage;
use cqm_proto::google::r#type::Money;
use cqm_rpc::{Error, PageRequest, Violations, text, time};
use uuid::Uuid;

use super::customer;
use super::profile::MAX_EXTERNAL_REFERENCE;
use crate::domain::purchase::{Amount, Purchase, PurchaseFacts};

const MAX_REFERENCE: usize = 128;
const MAX_PRODUCT: usize = 200;

/// Whose purchase it is, as the row says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    Id(Uuid),
    ExternalReference(String),
}

/// One row: a purchase, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub owner: Owner,
    pub facts: PurchaseFacts,
}

#[derive(Debug)]
pub struct List {
    pub customer_id: Uuid,
    /// By time, the latest first.
    pub page: PageRequest<(DateTime<Utc>, Uuid)>,
}

impl Row {
    pub fn parse(message: &proto::RecordPurchasesRequest, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let owner = match &message.owner {
            Some(OwnerMessage::Customer(name)) => {
                Owner::Id(customer::read_name("customer", name, &mut violations))
            }
            Some(OwnerMessage::CustomerExternalReference(reference)) => {
                let field = "customer_external_reference";
                Owner::ExternalReference(text::required(
                    field,
                    reference,
                    MAX_EXTERNAL_REFERENCE,
                    &mut violations,
                ))
            }
            None => {
                violations.required("customer");
                Owner::Id(Uuid::nil())
            }
        };
        let reference =
            text::required("purchase_reference", &message.purchase_reference, MAX_REFERENCE, &mut violations);
        if message.purchase_time.is_none() {
            violations.required("purchase_time");
        }
        let purchase_time = time::past("purchase_time", message.purchase_time.as_ref(), now, &mut violations);
        let amount = read_amount(message.amount.as_ref(), &mut violations);
        if message.quantity < 1 {
            violations.range("quantity", "1 or more");
        }
        let product = text::line("product", &message.product, MAX_PRODUCT, &mut violations);
        violations.finish()?;
        let facts = PurchaseFacts {
            reference,
            purchase_time: purchase_time.unwrap_or_default(),
            amount,
            quantity: message.quantity,
            product,
        };
        Ok(Self { owner, facts })
    }
}

fn read_amount(money: Option<&Money>, violations: &mut Violations) -> Amount {
    let Some(money) = money else {
        violations.required("amount");
        return Amount { currency_code: String::new(), units: 0, nanos: 0 };
    };
    if money.currency_code.is_empty() {
        violations.required("amount.currency_code");
    } else if money.currency_code.len() != 3 || !money.currency_code.bytes().all(|c| c.is_ascii_uppercase()) {
        violations.format("amount.currency_code", "a currency code of ISO 4217 such as CNY");
    }
    if money.units < 0 {
        violations.range("amount.units", "0 or more");
    }
    if !(0..1_000_000_000).contains(&money.nanos) {
        violations.range("amount.nanos", "0 to 999,999,999");
    }
    Amount { currency_code: money.currency_code.clone(), units: money.units, nanos: money.nanos }
}

impl List {
    pub fn parse(message: &proto::ListPurchasesRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer_id = customer::read_name("customer", &message.customer, &mut violations);
        let query = ["purchases", message.customer.as_str()];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { customer_id, page })
    }
}

pub(super) fn money(amount: &Amount) -> Money {
    Money { currency_code: amount.currency_code.clone(), units: amount.units, nanos: amount.nanos }
}

pub fn write(purchase: &Purchase) -> proto::Purchase {
    let facts = &purchase.facts;
    proto::Purchase {
        name: purchase.name(),
        purchase_reference: facts.reference.clone(),
        purchase_time: Some(time::wire(facts.purchase_time)),
        amount: Some(money(&facts.amount)),
        quantity: facts.quantity,
        product: facts.product.clone(),
        create_time: Some(time::wire(purchase.create_time)),
    }
}
