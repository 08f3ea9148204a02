//! Invitations.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::invitation::{Invitation, State, Subject};
use crate::schema::invitations;

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = invitations, treat_none_as_null = true)]
struct InvitationRow {
    id: Uuid,
    customer_id: Uuid,
    questionnaire_id: Uuid,
    number: i32,
    subject: String,
    subject_version: i64,
    state: String,
    expire_time: DateTime<Utc>,
    response_id: Option<Uuid>,
    answer_time: Option<DateTime<Utc>>,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

impl InvitationRow {
    fn of(it: &Invitation) -> Self {
        Self {
            id: it.id,
            customer_id: it.customer_id,
            questionnaire_id: it.questionnaire_id,
            number: it.number,
            subject: it.subject.name.clone(),
            subject_version: it.subject.version,
            state: it.state.name().to_owned(),
            expire_time: it.expire_time,
            response_id: it.response_id,
            answer_time: it.answer_time,
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        }
    }

    fn read(self) -> Result<Invitation, Error> {
        Ok(Invitation {
            id: self.id,
            customer_id: self.customer_id,
            questionnaire_id: self.questionnaire_id,
            number: self.number,
            subject: Subject { name: self.subject, version: self.subject_version },
            state: known("invitations.state", &self.state, State::find)?,
            expire_time: self.expire_time,
            response_id: self.response_id,
            answer_time: self.answer_time,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}

/// Inserts it unless the customer was asked the same before; tells whether it did. Waits for another transaction that
/// is asking the same right now.
pub async fn insert_once(tx: &mut Conn, invitation: &Invitation) -> Result<bool, Error> {
    let inserted = diesel::insert_into(invitations::table)
        .values(InvitationRow::of(invitation))
        .on_conflict((
            invitations::customer_id,
            invitations::subject,
            invitations::subject_version,
            invitations::questionnaire_id,
        ))
        .do_nothing()
        .execute(tx)
        .await?;
    Ok(inserted == 1)
}

/// The invitation by which the customer was asked the same before.
pub async fn find_asked(
    conn: &mut Conn,
    customer_id: Uuid,
    subject: &Subject,
    questionnaire_id: Uuid,
) -> Result<Option<Invitation>, Error> {
    invitations::table
        .filter(invitations::customer_id.eq(customer_id))
        .filter(invitations::subject.eq(&subject.name))
        .filter(invitations::subject_version.eq(subject.version))
        .filter(invitations::questionnaire_id.eq(questionnaire_id))
        .select(InvitationRow::as_select())
        .first(conn)
        .await
        .optional()?
        .map(InvitationRow::read)
        .transpose()
}

pub async fn find(conn: &mut Conn, id: Uuid) -> Result<Option<Invitation>, Error> {
    invitations::table
        .find(id)
        .select(InvitationRow::as_select())
        .first(conn)
        .await
        .optional()?
        .map(InvitationRow::read)
        .transpose()
}

/// As [`find`], with the row locked.
pub async fn lock(tx: &mut Conn, id: Uuid) -> Result<Option<Invitation>, Error> {
    invitations::table
        .find(id)
        .select(InvitationRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?
        .map(InvitationRow::read)
        .transpose()
}

/// Locks everything that either of two customers was asked, which is few, in the order of the ids.
pub async fn lock_all_of(tx: &mut Conn, customers: [Uuid; 2]) -> Result<Vec<Invitation>, Error> {
    let rows = invitations::table
        .filter(invitations::customer_id.eq_any(customers))
        .order(invitations::id)
        .select(InvitationRow::as_select())
        .for_update()
        .load(tx)
        .await?;
    rows.into_iter().map(InvitationRow::read).collect()
}

/// Makes invitations, whose rows are locked, another customer's.
pub async fn give(tx: &mut Conn, ids: &[Uuid], to: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    diesel::update(invitations::table.filter(invitations::id.eq_any(ids)))
        .set((
            invitations::customer_id.eq(to),
            invitations::version.eq(invitations::version + 1),
            invitations::update_time.eq(now),
        ))
        .execute(tx)
        .await?;
    Ok(())
}

pub async fn update(tx: &mut Conn, invitation: &Invitation) -> Result<(), Error> {
    diesel::update(invitations::table.find(invitation.id))
        .set(InvitationRow::of(invitation))
        .execute(tx)
        .await?;
    Ok(())
}

/// Which invitations a list holds; `None` is all.
#[derive(Clone, Debug)]
pub struct Filter {
    pub customer_id: Option<Uuid>,
    pub subject: Option<String>,
    pub state: Option<State>,
}

/// The newest first, those after the key only.
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    let mut query = invitations::table.select(InvitationRow::as_select()).into_boxed();
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(invitations::customer_id.eq(customer_id));
    }
    if let Some(subject) = &filter.subject {
        query = query.filter(invitations::subject.eq(subject));
    }
    if let Some(state) = filter.state {
        query = query.filter(invitations::state.eq(state.name()));
    }
    if let Some(after) = after {
        query = query.filter(invitations::id.lt(after));
    }
    let rows = query.order(invitations::id.desc()).limit(limit).load(conn).await?;
    rows.into_iter().map(InvitationRow::read).collect()
}

/// Locks up to `limit` invitations whose time has run out and that nobody else works on, those that ran out first
/// before the others.
pub async fn lock_due(tx: &mut Conn, now: DateTime<Utc>, limit: i64) -> Result<Vec<Invitation>, Error> {
    let rows = invitations::table
        // Written out, so that the planner sees that the partial index serves.
        .filter(diesel::dsl::sql::<diesel::sql_types::Bool>("state = 'PENDING'"))
        .filter(invitations::expire_time.le(now))
        .order(invitations::expire_time)
        .limit(limit)
        .select(InvitationRow::as_select())
        .for_update()
        .skip_locked()
        .load(tx)
        .await?;
    rows.into_iter().map(InvitationRow::read).collect()
}

/// Writes down what [`Invitation::expire`] or [`Invitation::end`] decided for all of them, in one statement. Their rows are locked.
pub async fn mark_expired(tx: &mut Conn, ids: &[Uuid], now: DateTime<Utc>) -> Result<(), Error> {
    diesel::update(invitations::table.filter(invitations::id.eq_any(ids)))
        .set((
            invitations::state.eq(State::Expired.name()),
            invitations::version.eq(invitations::version + 1),
            invitations::update_time.eq(now),
        ))
        .execute(tx)
        .await?;
    Ok(())
}
