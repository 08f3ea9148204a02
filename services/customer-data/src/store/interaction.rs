//! Contacts with customers.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::interaction::{Interaction, InteractionChannel, InteractionKind};
use crate::schema::interactions;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = interactions, check_for_backend(diesel::pg::Pg))]
struct InteractionRow {
    customer_id: Uuid,
    id: Uuid,
    kind: String,
    channel: String,
    occur_time: DateTime<Utc>,
    summary: String,
    subject: String,
    create_time: DateTime<Utc>,
}

impl InteractionRow {
    fn of(interaction: &Interaction) -> Self {
        Self {
            customer_id: interaction.customer_id,
            id: interaction.id,
            kind: interaction.kind.name().to_owned(),
            channel: interaction.channel.name().to_owned(),
            occur_time: interaction.occur_time,
            summary: interaction.summary.expose().clone(),
            subject: interaction.subject.clone(),
            create_time: interaction.create_time,
        }
    }

    fn into_interaction(self) -> Result<Interaction, Error> {
        Ok(Interaction {
            customer_id: self.customer_id,
            id: self.id,
            kind: known("interactions.kind", &self.kind, InteractionKind::find)?,
            channel: known("interactions.channel", &self.channel, InteractionChannel::find)?,
            occur_time: self.occur_time,
            summary: self.summary.into(),
            subject: self.subject,
            create_time: self.create_time,
        })
    }
}

pub async fn insert_interaction(tx: &mut Conn, interaction: &Interaction) -> Result<(), Error> {
    diesel::insert_into(interactions::table).values(InteractionRow::of(interaction)).execute(tx).await?;
    Ok(())
}

/// Empties what was said in all contacts with a customer, and returns how many contacts that were.
pub async fn erase_summaries(tx: &mut Conn, customer_id: Uuid) -> Result<i64, Error> {
    let emptied = diesel::update(interactions::table)
        .filter(interactions::customer_id.eq(customer_id))
        .filter(interactions::summary.ne(""))
        .set(interactions::summary.eq(""))
        .execute(tx)
        .await?;
    Ok(emptied as i64)
}

/// Gives all contacts with a customer to another one, who is the same person, and returns how many that were. As
/// [`super::purchase::move_purchases`], it takes as long as there are many.
pub async fn move_interactions(tx: &mut Conn, from: Uuid, to: Uuid) -> Result<i64, Error> {
    let moved = diesel::update(interactions::table.filter(interactions::customer_id.eq(from)))
        .set(interactions::customer_id.eq(to))
        .execute(tx)
        .await?;
    Ok(moved as i64)
}

/// Contacts with a customer, the latest first, at most `limit`, from behind the one at `after`.
pub async fn list_interactions(
    conn: &mut Conn,
    customer_id: Uuid,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Interaction>, Error> {
    let mut query = interactions::table
        .filter(interactions::customer_id.eq(customer_id))
        .order((interactions::occur_time.desc(), interactions::id.desc()))
        .limit(limit)
        .select(InteractionRow::as_select())
        .into_boxed();
    if let Some((time, id)) = after {
        // The first condition is what the index is searched by.
        query = query
            .filter(interactions::occur_time.le(time))
            .filter(interactions::occur_time.lt(time).or(interactions::id.lt(id)));
    }
    query.load(conn).await?.into_iter().map(InteractionRow::into_interaction).collect()
}
