//! How far the log's readers are, and what waits, as figures.

use cqm_db::log;
use opentelemetry::KeyValue;

use crate::figures::{Figure, Reading};

/// The figures of the event log of `source`.
pub(crate) fn figures(source: &'static str) -> Vec<Figure> {
    let figures = [
        Figure::new(
            "cqm.event_log.lag",
            "{event}",
            "events that a consumer has not acknowledged yet",
            |conn, _| {
                Box::pin(async move {
                    let lags = log::lags(conn).await?;
                    Ok(lags.into_iter().map(|(consumer, events)| reading(consumer, events)).collect())
                })
            },
        ),
        Figure::new(
            "cqm.event_log.parked",
            "{aggregate}",
            "aggregates that a consumer has set aside until somebody decides",
            |conn, _| {
                Box::pin(async move {
                    let parked = log::parked_counts(conn).await?;
                    Ok(parked.into_iter().map(|(consumer, count)| reading(consumer, count)).collect())
                })
            },
        ),
        Figure::new(
            "cqm.event_log.pending",
            "{event}",
            "events that are committed and have no position yet, 10,000 at most",
            |conn, _| {
                Box::pin(async move { Ok(vec![Reading::count(Vec::new(), log::backlog(conn).await?)]) })
            },
        ),
    ];
    let source = KeyValue::new("cqm.source", source);
    figures.into_iter().map(|figure| figure.with(source.clone())).collect()
}

fn reading(consumer: String, count: i64) -> Reading {
    Reading::count(vec![KeyValue::new("cqm.consumer", consumer)], count)
}
