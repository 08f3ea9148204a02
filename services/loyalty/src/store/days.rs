//! Sums of days: written once when a day is over, read instead of its entries.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Date, Nullable, Text, Timestamptz};
use diesel_async::RunQueryDsl;

use crate::domain::turnover::Moved;
use crate::schema::{ledger_close, member};

/// How far the sums of days have been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The last day; `None`: none yet.
    pub through: Option<NaiveDate>,
}

/// The first moment of a day.
pub fn start_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The first moment after a day. Days come from the contract's years 1 to 9999.
pub fn end_of(day: NaiveDate) -> DateTime<Utc> {
    start_of(day.checked_add_days(Days::new(1)).unwrap_or(day))
}

/// Reads how far the sums of days have been written.
pub async fn find_closed(conn: &mut Conn) -> Result<Closed, Error> {
    let through = ledger_close::table.select(ledger_close::closed_through).first(conn).await?;
    Ok(Closed { through })
}

/// [`find_closed`] with the lock that writing the next day takes; `None` when another replica has it.
pub async fn lock_closed(tx: &mut Conn) -> Result<Option<Closed>, Error> {
    let through: Option<Option<NaiveDate>> = ledger_close::table
        .select(ledger_close::closed_through)
        .for_update()
        .skip_locked()
        .first(tx)
        .await
        .optional()?;
    Ok(through.map(|through| Closed { through }))
}

/// When the first member joined; nobody's points are older. Reads the end of the index member_newest.
pub async fn first_joining(conn: &mut Conn) -> Result<Option<DateTime<Utc>>, Error> {
    Ok(member::table
        .select(member::create_time)
        .order((member::create_time.asc(), member::customer_id.asc()))
        .first(conn)
        .await
        .optional()?)
}

/// Writes the sums of a day and that it is closed, under the lock, and returns how many there are. Reads the day's
/// entries by the index entry_time, and the lot of each by its key.
pub async fn close_day(tx: &mut Conn, day: NaiveDate) -> Result<usize, Error> {
    // An entry without its lot would be a fault of ours. It is counted where it was made, not left out of the sums.
    let sums = statement(
        "INSERT INTO ledger_day (day, cohort, kind, debit, credit, points, entries)
         SELECT $1, date_trunc('month', coalesce(lot.earned_at, entry.create_time) AT TIME ZONE 'UTC')::date AS cohort,
                kind, debit, credit, sum(points), count(*)
         FROM entry LEFT JOIN lot ON lot.customer_id = entry.customer_id AND lot.id = entry.lot_id
         WHERE entry.create_time >= $2 AND entry.create_time < $3
         GROUP BY cohort, kind, debit, credit",
    )
    .bind::<Date, _>(day)
    .bind::<Timestamptz, _>(start_of(day))
    .bind::<Timestamptz, _>(end_of(day))
    .execute(tx)
    .await?;
    diesel::update(ledger_close::table).set(ledger_close::closed_through.eq(Some(day))).execute(tx).await?;
    Ok(sums)
}

/// A span of days, from the beginning of the ledger, in two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last day of the first part; `None`: it is empty.
    pub before: Option<NaiveDate>,
    /// The last day of the second.
    pub last: NaiveDate,
    pub closed: Closed,
}

impl Span {
    /// Of the days that are closed, the last that counts; of those that are not, when they begin.
    fn seam(&self) -> (NaiveDate, DateTime<Utc>) {
        match self.closed.through {
            None => (NEVER, start_of(NEVER)),
            Some(closed) => (closed.min(self.last), end_of(closed)),
        }
    }
}

/// Before every day.
const NEVER: NaiveDate = NaiveDate::from_ymd_opt(0, 1, 1).expect("a day");

/// What was moved in the two parts of a span, the months of earning apart from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortMoved {
    pub month: NaiveDate,
    /// In the second part.
    pub within: bool,
    pub moved: Moved,
}

#[derive(QueryableByName)]
struct Sum {
    #[diesel(sql_type = Nullable<Date>)]
    cohort: Option<NaiveDate>,
    #[diesel(sql_type = Bool)]
    within: bool,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    debit: String,
    #[diesel(sql_type = Text)]
    credit: String,
    // As text: diesel has no numeric without another crate, and 64 bits may not do.
    #[diesel(sql_type = Text)]
    points: String,
    #[diesel(sql_type = Text)]
    entries: String,
}

/// Adds up what was moved in the two parts of a span: the sums of the days that are closed, and the entries of those that
/// are not. Belongs into a transaction that sees one moment, with what `closed` was read in.
pub async fn sum_days(conn: &mut Conn, span: &Span) -> Result<(Vec<Moved>, Vec<Moved>), Error> {
    let (closed, open) = span.seam();
    let sums: Vec<Sum> = statement(
        "SELECT NULL::date AS cohort, within, kind, debit, credit, sum(points)::text AS points,
                sum(entries)::text AS entries
         FROM (SELECT day > $1 AS within, kind, debit, credit, points, entries FROM ledger_day WHERE day <= $2
               UNION ALL
               SELECT create_time >= $3, kind, debit, credit, points, 1 FROM entry
               WHERE create_time >= $4 AND create_time < $5) AS days
         GROUP BY within, kind, debit, credit",
    )
    .bind::<Date, _>(span.before.unwrap_or(NEVER))
    .bind::<Date, _>(closed)
    .bind::<Timestamptz, _>(end_of(span.before.unwrap_or(NEVER)))
    .bind::<Timestamptz, _>(open)
    .bind::<Timestamptz, _>(end_of(span.last))
    .load(conn)
    .await?;
    let (mut before, mut within) = (Vec::new(), Vec::new());
    for sum in sums {
        if sum.within { &mut within } else { &mut before }.push(sum.moved()?);
    }
    Ok((before, within))
}

/// [`sum_days`] by the months in which the points count as earned.
pub async fn sum_cohorts(conn: &mut Conn, span: &Span) -> Result<Vec<CohortMoved>, Error> {
    let (closed, open) = span.seam();
    let sums: Vec<Sum> = statement(
        "SELECT cohort, within, kind, debit, credit, sum(points)::text AS points, sum(entries)::text AS entries
         FROM (SELECT cohort, day > $1 AS within, kind, debit, credit, points, entries FROM ledger_day WHERE day <= $2
               UNION ALL
               SELECT date_trunc('month', coalesce(lot.earned_at, entry.create_time) AT TIME ZONE 'UTC')::date,
                      entry.create_time >= $3, kind, debit, credit, points, 1
               FROM entry LEFT JOIN lot ON lot.customer_id = entry.customer_id AND lot.id = entry.lot_id
               WHERE entry.create_time >= $4 AND entry.create_time < $5) AS days
         GROUP BY cohort, within, kind, debit, credit",
    )
    .bind::<Date, _>(span.before.unwrap_or(NEVER))
    .bind::<Date, _>(closed)
    .bind::<Timestamptz, _>(end_of(span.before.unwrap_or(NEVER)))
    .bind::<Timestamptz, _>(open)
    .bind::<Timestamptz, _>(end_of(span.last))
    .load(conn)
    .await?;
    let cohort = |sum: Sum| {
        let month = sum.cohort.ok_or_else(|| Error::internal("a sum of no month"))?;
        Ok(CohortMoved { month, within: sum.within, moved: sum.moved()? })
    };
    sums.into_iter().map(cohort).collect()
}

impl Sum {
    fn moved(&self) -> Result<Moved, Error> {
        super::statement::moved(&self.kind, &self.debit, &self.credit, &self.points, &self.entries)
    }
}
