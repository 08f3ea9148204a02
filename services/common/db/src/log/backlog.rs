//! How far consumers are and what waits, for metrics. A consumer is a row, so these read a few rows each.

use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use crate::pool::Conn;
use crate::statement::statement;

#[derive(QueryableByName)]
struct OfConsumer {
    #[diesel(sql_type = Text)]
    consumer: String,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// How many events each consumer has not acknowledged.
pub async fn lags(conn: &mut Conn) -> Result<Vec<(String, i64)>, Error> {
    let rows: Vec<OfConsumer> = statement(
        "SELECT consumer, greatest(event_head.position - event_ack.position, 0) AS n FROM event_ack CROSS JOIN event_head",
    )
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.consumer, row.n)).collect())
}

/// How many aggregates each consumer has parked; a consumer without any is told too.
pub async fn parked_counts(conn: &mut Conn) -> Result<Vec<(String, i64)>, Error> {
    let rows: Vec<OfConsumer> = statement(
        "SELECT ack.consumer, (SELECT count(*) FROM event_parked AS parked WHERE parked.consumer = ack.consumer) AS n
         FROM event_ack AS ack",
    )
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.consumer, row.n)).collect())
}

/// How many events wait for their position, up to 10,000: a queue of millions is not counted to its end.
pub async fn backlog(conn: &mut Conn) -> Result<i64, Error> {
    let count: Count =
        statement("SELECT count(*) AS n FROM (SELECT FROM event_pending ORDER BY id LIMIT 10000) AS waiting")
            .get_result(conn)
            .await?;
    Ok(count.n)
}
