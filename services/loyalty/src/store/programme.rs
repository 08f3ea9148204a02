//! Programmes.

use chrono::{DateTime, Utc};
use cqm_db::{Conn, known};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::programme::{Programme, State, Window};
use crate::domain::text::Text;
use crate::schema::programme;

#[derive(Queryable, QueryableByName, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = programme, treat_none_as_null = true)]
pub(super) struct ProgrammeRow {
    id: Uuid,
    name_zh: String,
    name_en: String,
    state: String,
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    budget: Option<i64>,
    utc_offset_minutes: i32,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

pub async fn insert_programme(tx: &mut Conn, programme: &Programme) -> Result<(), Error> {
    diesel::insert_into(programme::table).values(ProgrammeRow::of(programme)).execute(tx).await?;
    Ok(())
}

/// Writes what has changed of a locked programme.
pub async fn update_programme(tx: &mut Conn, programme: &Programme) -> Result<(), Error> {
    diesel::update(programme::table.find(programme.id)).set(ProgrammeRow::of(programme)).execute(tx).await?;
    Ok(())
}

pub async fn find_programme(conn: &mut Conn, id: Uuid) -> Result<Option<Programme>, Error> {
    let row: Option<ProgrammeRow> =
        programme::table.find(id).select(ProgrammeRow::as_select()).first(conn).await.optional()?;
    row.map(ProgrammeRow::into_domain).transpose()
}

/// Reads a programme and takes its lock.
pub async fn lock_programme(tx: &mut Conn, id: Uuid) -> Result<Option<Programme>, Error> {
    let row: Option<ProgrammeRow> = programme::table
        .find(id)
        .select(ProgrammeRow::as_select())
        .for_update()
        .first(tx)
        .await
        .optional()?;
    row.map(ProgrammeRow::into_domain).transpose()
}

/// How many programmes are active or paused. Two that are activated in the same moment do not see each other: the limit
/// is there for the size of the work, and one more does no harm.
pub async fn count_running(conn: &mut Conn) -> Result<i64, Error> {
    let running = [State::Active.name(), State::Paused.name()];
    Ok(programme::table.filter(programme::state.eq_any(running)).count().get_result(conn).await?)
}

/// Pages through programmes, the newest first, `after` the last of the page before.
pub async fn list_programmes(
    conn: &mut Conn,
    state: Option<State>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Programme>, Error> {
    let mut query = programme::table
        .select(ProgrammeRow::as_select())
        .order(programme::id.desc())
        .limit(limit)
        .into_boxed();
    if let Some(state) = state {
        query = query.filter(programme::state.eq(state.name()));
    }
    if let Some(after) = after {
        query = query.filter(programme::id.lt(after));
    }
    query.load::<ProgrammeRow>(conn).await?.into_iter().map(ProgrammeRow::into_domain).collect()
}

impl ProgrammeRow {
    fn of(it: &Programme) -> Self {
        Self {
            id: it.id,
            name_zh: it.display_name.zh.clone(),
            name_en: it.display_name.en.clone(),
            state: it.state.name().to_owned(),
            start_time: it.window.start,
            end_time: it.window.end,
            budget: it.budget,
            utc_offset_minutes: it.utc_offset_minutes,
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        }
    }

    pub(super) fn into_domain(self) -> Result<Programme, Error> {
        Ok(Programme {
            id: self.id,
            display_name: Text { zh: self.name_zh, en: self.name_en },
            state: known("programme.state", &self.state, State::find)?,
            window: Window { start: self.start_time, end: self.end_time },
            budget: self.budget,
            utc_offset_minutes: self.utc_offset_minutes,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}
