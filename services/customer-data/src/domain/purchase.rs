//! What a customer bought.

use chrono::{DateTime, Utc};
use cqm_rpc::ResourceName;
use uuid::Uuid;

use super::customer;

pub const COLLECTION: &str = "purchases";

/// An amount of money, zero or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// ISO 4217, upper case.
    pub currency_code: String,
    pub units: i64,
    /// Billionths of a unit, 0 to 999,999,999.
    pub nanos: i32,
}

/// What the till says about a purchase. Two purchases with equal facts and one reference are the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurchaseFacts {
    /// The purchase's id in the system that it came from; unique for the customer.
    pub reference: String,
    pub purchase_time: DateTime<Utc>,
    pub amount: Amount,
    pub quantity: i64,
    pub product: String,
}

/// A purchase as it is kept. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    pub customer_id: Uuid,
    pub id: Uuid,
    pub facts: PurchaseFacts,
    pub create_time: DateTime<Utc>,
}

impl Purchase {
    pub fn name(&self) -> String {
        name(self.customer_id, self.id)
    }
}

/// `customers/{uuid}/purchases/{uuid}`
pub fn name(customer_id: Uuid, id: Uuid) -> String {
    format!("{}/{}", ResourceName::new(customer::COLLECTION, customer_id), ResourceName::new(COLLECTION, id))
}
