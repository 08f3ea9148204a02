//! From the contract's messages to the domain and back. Whatever is wrong with a message is found here, all of it
//! at once; what comes out cannot be invalid.

pub mod customer;
pub mod event;
pub mod interaction;
pub mod profile;
pub mod purchase;
mod time;
mod words;

use chrono::{DateTime, Utc};
use cqm_proto::google::rpc;
use cqm_rpc::{Error, PageRequest, reason};
use prost::Message;
use uuid::Uuid;

/// The refusal of one row, as the status that the same refusal of a call would have.
pub fn row_status(error: Error) -> rpc::Status {
    let status = tonic::Status::from(error);
    rpc::Status::decode(status.details()).unwrap_or_else(|_| rpc::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        ..Default::default()
    })
}

/// The key of a list that is ordered by a time and then by an id.
pub fn time_key(time: DateTime<Utc>, id: Uuid) -> Vec<u8> {
    let mut key = time.timestamp_micros().to_be_bytes().to_vec();
    key.extend_from_slice(id.as_bytes());
    key
}

/// The inverse of [`time_key`].
pub fn after_time_key(page: &PageRequest) -> Result<Option<(DateTime<Utc>, Uuid)>, Error> {
    let Some(key) = page.after.as_deref() else {
        return Ok(None);
    };
    let read = || {
        let (micros, id) = key.split_first_chunk::<8>()?;
        let time = DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        Some((time, Uuid::from_slice(id).ok()?))
    };
    read().map(Some).ok_or_else(|| {
        Error::invalid(
            "page_token",
            reason::PAGE_TOKEN_INVALID,
            "is not a token of this list",
        )
    })
}

#[cfg(test)]
mod tests {
    use cqm_rpc::{Failure, Violations};

    use super::*;
    use crate::error::customer_not_found;

    #[test]
    fn the_status_of_a_row_says_what_the_status_of_a_call_would() {
        let id = Uuid::now_v7();
        let row = row_status(customer_not_found(id));
        let call = Failure::of(&customer_not_found(id).into());
        assert_eq!(row.code, call.code as i32);
        assert_eq!(row.message, call.message);
        assert_eq!(row.details.len(), 2, "ErrorInfo and ResourceInfo");
    }

    #[test]
    fn a_time_key_survives_the_page_token() {
        let (time, id) = ("2026-11-02T01:02:03.000004Z".parse().unwrap(), Uuid::now_v7());
        let mut violations = Violations::default();
        let first = PageRequest::parse(1, "", &["list"], &mut violations);
        let page = first.page(vec![0, 1], |_| time_key(time, id));
        let second = PageRequest::parse(1, &page.next_page_token, &["list"], &mut violations);
        assert!(violations.is_empty());
        assert_eq!(after_time_key(&second).unwrap(), Some((time, id)));
        assert_eq!(after_time_key(&first).unwrap(), None);
        let short = first.page(vec![0, 1], |_| vec![1, 2, 3]);
        let broken = PageRequest::parse(1, &short.next_page_token, &["list"], &mut violations);
        assert_eq!(
            after_time_key(&broken).unwrap_err().reason(),
            reason::PAGE_TOKEN_INVALID
        );
    }
}
