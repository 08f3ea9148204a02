//! What was told of personal data, to whom and what for: written down before the answer leaves, never changed after.
//!
//! A service's releases are one chain: each row's hash covers the row before, so that a row that was altered, taken out
//! or put in is found by `verify`, and `audit_head` remembers where the chain ends. An [`Auditor`] appends: the
//! releases that come while a batch is on its way to the disk are the next batch. The chain's end is locked once for
//! each batch and not for each release, and nobody waits for it but those who said what they need personal data for.

mod append;
mod read;
mod verify;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::schema::audit_release;

pub use append::{Auditor, ReleaseLane};
pub use read::{Filter, list};
pub use verify::{Check, End, Fault, Walk, end};

/// One release, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = audit_release, check_for_backend(diesel::pg::Pg))]
pub struct Released {
    pub sequence: i64,
    pub time: DateTime<Utc>,
    pub caller: String,
    /// Numbers of `cqm.options.v1.Role`.
    pub roles: Vec<i32>,
    /// A number of `cqm.options.v1.Purpose`.
    pub purpose: i32,
    pub reference: String,
    pub method: String,
    /// Numbers of `cqm.options.v1.PersonalKind`.
    pub kinds: Vec<i32>,
    pub customers: Vec<Uuid>,
    pub resources: Vec<String>,
    pub trace_id: String,
    pub hash: Vec<u8>,
}

impl Released {
    /// `SHA-256(previous hash ‖ sequence ‖ time ‖ every other field)`: texts behind their length in bytes, lists behind
    /// the number of their items, numbers big-endian, the time in microseconds. Part of the stored format.
    fn chained(&self, previous: &[u8]) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(previous);
        hash.update(self.sequence.to_be_bytes());
        hash.update(self.time.timestamp_micros().to_be_bytes());
        hash.update(self.purpose.to_be_bytes());
        for numbers in [&self.roles, &self.kinds] {
            hash.update(length(numbers));
            numbers.iter().for_each(|number| hash.update(number.to_be_bytes()));
        }
        hash.update(length(&self.customers));
        self.customers.iter().for_each(|customer| hash.update(customer.as_bytes()));
        hash.update(length(&self.resources));
        let texts = [&self.caller, &self.reference, &self.method, &self.trace_id];
        for text in texts.into_iter().chain(&self.resources) {
            hash.update(length(text.as_bytes()));
            hash.update(text);
        }
        hash.finalize().to_vec()
    }
}

fn length<T>(items: &[T]) -> [u8; 8] {
    (items.len() as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One alteration of a release.
    type Alter = fn(&mut Released);

    fn released() -> Released {
        Released {
            sequence: 7,
            time: DateTime::from_timestamp_micros(1_768_440_600_000_001).unwrap(),
            caller: "staff-7".to_owned(),
            roles: vec![2],
            purpose: 1,
            reference: "complaints/7".to_owned(),
            method: "cqm.customers.v1.CustomerService/GetCustomer".to_owned(),
            kinds: vec![2, 3],
            customers: vec![Uuid::from_u128(1)],
            resources: vec!["customers/1".to_owned()],
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            hash: Vec::new(),
        }
    }

    #[test]
    fn every_field_and_the_release_before_are_in_the_hash() {
        let alterations: [Alter; 13] = [
            |row| row.sequence += 1,
            |row| row.time += chrono::TimeDelta::microseconds(1),
            |row| row.caller.push('x'),
            |row| row.roles.push(1),
            |row| row.purpose += 1,
            |row| row.reference.push('x'),
            |row| row.method.push('x'),
            |row| row.kinds[0] += 1,
            |row| row.customers.clear(),
            |row| row.resources[0].push('x'),
            |row| row.trace_id.push('x'),
            // What is taken from one field and given to the next.
            |row| row.reference = format!("{}{}", row.reference, std::mem::take(&mut row.method)),
            |row| row.kinds.insert(0, row.roles.pop().unwrap()),
        ];
        let before = released().chained(b"previous");
        for (index, alter) in alterations.into_iter().enumerate() {
            let mut altered = released();
            alter(&mut altered);
            assert_ne!(altered.chained(b"previous"), before, "alteration {index}");
        }
        assert_ne!(released().chained(b"another"), before);
        assert_eq!(released().chained(b"previous"), before);
    }
}
