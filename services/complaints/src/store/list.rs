//! Lists of complaints, by page.

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::{Error, PageKey};
use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, SmallInt, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::complaint::{self, ComplaintRow};
use crate::domain::{Category, Complaint, Severity, State};
use crate::policies::Policies;
use crate::schema::complaints;

/// Which complaints, in which order, after which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub filter: Filter,
    pub order: Order,
    pub after: Option<Key>,
    pub limit: i64,
}

/// What is set must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub customer: Option<Uuid>,
    pub state: Option<State>,
    pub category: Option<Category>,
    pub severity: Option<Severity>,
    pub assignee: Option<String>,
    /// Not closed.
    pub open_only: bool,
    /// Of which a clock runs that is due before.
    pub due_before: Option<DateTime<Utc>>,
}

/// By the time of registration (ids are given in its order), or by severity first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
    /// The most severe first, among equals the oldest first.
    MostSevere,
}

/// Where a row stands in every order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub severity: Severity,
    pub id: Uuid,
}

impl PageKey for Key {
    fn to_bytes(&self) -> Vec<u8> {
        [self.severity.code().to_be_bytes().as_slice(), self.id.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (severity, id) = bytes.split_first_chunk::<2>()?;
        let severity = i32::from(i16::from_be_bytes(*severity)).try_into().ok()?;
        Some(Self { severity, id: Uuid::from_slice(id).ok()? })
    }
}

type Columns = diesel::helper_types::AsSelect<ComplaintRow, Pg>;

/// The statement of a list: one index of the table gives both the rows and their order.
pub(crate) fn statement(
    query: &Query,
) -> complaints::BoxedQuery<'_, Pg, diesel::helper_types::SqlTypeOf<Columns>> {
    let Filter { customer, state, category, severity, assignee, open_only, due_before } = &query.filter;
    let mut statement = complaints::table.select(ComplaintRow::as_select()).limit(query.limit).into_boxed();
    if let Some(customer) = customer {
        statement = statement.filter(complaints::customer_id.eq(customer));
    }
    match (state, open_only) {
        // Nothing is both. Postgres would find that out by reading all that is closed.
        (Some(State::Closed), true) => statement = statement.filter(sql::<Bool>("FALSE")),
        (Some(state), _) => statement = statement.filter(complaints::state.eq(state.code())),
        // Spelled out and not a parameter, so that the indexes of what is open are seen to hold every row of it.
        (None, true) => {
            let open = format!("complaints.state <> {}", State::Closed.code());
            statement = statement.filter(sql::<Bool>(&open));
        }
        (None, false) => {}
    }
    if let Some(category) = category {
        statement = statement.filter(complaints::category.eq(category.code()));
    }
    if let Some(severity) = severity {
        statement = statement.filter(complaints::severity_rank.eq(rank(*severity)));
    }
    if let Some(assignee) = assignee {
        statement = statement.filter(complaints::assignee.eq(assignee));
    }
    if let Some(due_before) = due_before {
        // An array, so that the few complaints whose clocks run are looked up first and each of them found by its id.
        statement = statement.filter(
            sql::<Bool>(
                "complaints.id = ANY (ARRAY(SELECT complaint_id FROM complaint_clocks
                 WHERE end_time IS NULL AND due_time < ",
            )
            .bind::<Timestamptz, _>(due_before)
            .sql("))"),
        );
    }
    match (query.order, query.after) {
        (Order::Newest, Some(after)) => statement = statement.filter(complaints::id.lt(after.id)),
        (Order::Oldest, Some(after)) => statement = statement.filter(complaints::id.gt(after.id)),
        // One comparison of the whole key, so that a deep page starts in the index where the one before ended.
        (Order::MostSevere, Some(after)) => {
            statement = statement.filter(
                sql::<Bool>("(complaints.severity_rank, complaints.id) > (")
                    .bind::<SmallInt, _>(rank(after.severity))
                    .sql(", ")
                    .bind::<SqlUuid, _>(after.id)
                    .sql(")"),
            );
        }
        (_, None) => {}
    }
    match query.order {
        Order::Newest => statement.order(complaints::id.desc()),
        Order::Oldest => statement.order(complaints::id.asc()),
        Order::MostSevere => statement.order((complaints::severity_rank.asc(), complaints::id.asc())),
    }
}

pub async fn list(conn: &mut Conn, policies: &Policies, query: &Query) -> Result<Vec<Complaint>, Error> {
    let rows = statement(query).load(conn).await?;
    complaint::whole(conn, policies, rows).await
}

/// The value of the generated column: ascending from the most severe.
fn rank(severity: Severity) -> i16 {
    -severity.code()
}

#[cfg(test)]
mod tests;
