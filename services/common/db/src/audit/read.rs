//! Looking releases up.

use chrono::{DateTime, Utc};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Released;
use crate::pool::Conn;
use crate::schema::audit_release;

/// Which releases; what is set must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub customer: Option<Uuid>,
    pub caller: Option<String>,
    /// A number of `cqm.options.v1.Purpose`.
    pub purpose: Option<i32>,
    pub from: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
}

/// The releases before a place in the chain, the newest first.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Released>, Error> {
    let mut releases = audit_release::table.select(Released::as_select()).into_boxed();
    if let Some(customer) = filter.customer {
        releases = releases.filter(audit_release::customers.contains(vec![customer]));
    }
    if let Some(caller) = &filter.caller {
        releases = releases.filter(audit_release::caller.eq(caller));
    }
    if let Some(purpose) = filter.purpose {
        releases = releases.filter(audit_release::purpose.eq(purpose));
    }
    if let Some(from) = filter.from {
        releases = releases.filter(audit_release::time.ge(from));
    }
    if let Some(until) = filter.until {
        releases = releases.filter(audit_release::time.lt(until));
    }
    if let Some(before) = before {
        releases = releases.filter(audit_release::sequence.lt(before));
    }
    Ok(releases.order(audit_release::sequence.desc()).limit(limit).load(conn).await?)
}
