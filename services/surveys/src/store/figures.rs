//! What customers answered lately, as figures.

use chrono::{DateTime, TimeDelta, Utc};
use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use cqm_runtime::figures::{Figure, Reading};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use opentelemetry::KeyValue;

/// Lately: a month has enough answers for a score that does not jump.
const LATELY: TimeDelta = TimeDelta::days(30);

pub fn all() -> Vec<Figure> {
    vec![Figure::new(
        "cqm.surveys.recommendations",
        "{answer}",
        "answers of the last 30 days to how likely one is to recommend; the net promoter score is 100 times promoters less detractors over all",
        |conn, now| Box::pin(recommendations(conn, now)),
    )]
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Text)]
    purpose: String,
    #[diesel(sql_type = BigInt)]
    promoters: i64,
    #[diesel(sql_type = BigInt)]
    passives: i64,
    #[diesel(sql_type = BigInt)]
    detractors: i64,
}

/// By the index answers_summary alone, for each published question of the kind; its cost grows with a month's answers.
async fn recommendations(conn: &mut Conn, now: DateTime<Utc>) -> Result<Vec<Reading>, Error> {
    let counts: Vec<Count> = statement(
        "SELECT version.purpose,
                coalesce(sum(found.promoters), 0)::bigint AS promoters,
                coalesce(sum(found.passives), 0)::bigint AS passives,
                coalesce(sum(found.detractors), 0)::bigint AS detractors
         FROM questionnaire_versions AS version
         CROSS JOIN LATERAL jsonb_array_elements(version.content -> 'questions') AS question
         CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE score >= 9) AS promoters,
                    count(*) FILTER (WHERE score BETWEEN 7 AND 8) AS passives,
                    count(*) FILTER (WHERE score <= 6) AS detractors
             FROM answers
             WHERE answers.questionnaire_id = version.questionnaire_id AND answers.number = version.number
               AND answers.question_id = question ->> 'id' AND answers.create_time >= $1
         ) AS found
         WHERE question -> 'kind' ->> 'type' = 'nps'
         GROUP BY version.purpose",
    )
    .bind::<Timestamptz, _>(now - LATELY)
    .load(conn)
    .await?;
    let mut readings = Vec::new();
    for count in counts {
        for (answer, answers) in
            [("promoter", count.promoters), ("passive", count.passives), ("detractor", count.detractors)]
        {
            let labels = vec![
                KeyValue::new("cqm.purpose", count.purpose.clone()),
                KeyValue::new("cqm.answer", answer),
            ];
            readings.push(Reading::count(labels, answers));
        }
    }
    Ok(readings)
}
