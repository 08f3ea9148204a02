//! What was moved lately, as figures.

use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use cqm_runtime::figures::{Figure, Reading};
use diesel::prelude::*;
use diesel::sql_types::{Double, Text};
use diesel_async::RunQueryDsl;
use opentelemetry::KeyValue;

use crate::domain::entry::Kind;

pub fn all() -> Vec<Figure> {
    vec![Figure::new(
        "cqm.loyalty.points",
        "{point}",
        "points moved on the last day (UTC) whose sums are written, by the kind of entry",
        |conn, _| Box::pin(points(conn)),
    )]
}

#[derive(QueryableByName)]
struct Sum {
    #[diesel(sql_type = Text)]
    kind: String,
    // Rounded above 2^53, which a gauge is anyway.
    #[diesel(sql_type = Double)]
    points: f64,
}

/// One day of ledger_day by its key. The day that is not over is no figure: its entries would be read again and again.
async fn points(conn: &mut Conn) -> Result<Vec<Reading>, Error> {
    let sums: Vec<Sum> = statement(
        "SELECT kind, sum(points)::double precision AS points
         FROM ledger_day WHERE day = (SELECT closed_through FROM ledger_close) GROUP BY kind",
    )
    .load(conn)
    .await?;
    let reading = |kind: &Kind| Reading {
        of: vec![KeyValue::new("cqm.kind", kind.name())],
        value: sums.iter().find(|sum| sum.kind == kind.name()).map_or(0.0, |sum| sum.points),
    };
    Ok(Kind::ALL.iter().map(reading).collect())
}
