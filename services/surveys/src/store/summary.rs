//! Counting answers, in the database.

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::summary::Tally;

/// One statement, so that all counts are of one moment. Its cost grows with the responses in the time asked for: it
/// reads their entries in `responses_summary` and `answers_summary`, and the rows of choices.
const COUNT: &str = "
    SELECT 'response' AS what, NULL AS question_id, dissatisfied::int::smallint AS score, NULL AS choice, count(*) AS n
    FROM responses
    WHERE questionnaire_id = $1 AND number = $2
      AND create_time >= coalesce($3, '-infinity') AND create_time < coalesce($4, 'infinity')
    GROUP BY dissatisfied
    UNION ALL
    SELECT 'answer', question_id, score, NULL, count(*)
    FROM answers
    WHERE questionnaire_id = $1 AND number = $2 AND question_id = ANY($5)
      AND create_time >= coalesce($3, '-infinity') AND create_time < coalesce($4, 'infinity')
    GROUP BY question_id, score
    UNION ALL
    SELECT 'choice', question_id, NULL, choice, count(*)
    FROM answers CROSS JOIN LATERAL unnest(choices) AS choice
    WHERE questionnaire_id = $1 AND number = $2 AND question_id = ANY($6)
      AND create_time >= coalesce($3, '-infinity') AND create_time < coalesce($4, 'infinity')
    GROUP BY question_id, choice";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Text)]
    what: String,
    #[diesel(sql_type = Nullable<Text>)]
    question_id: Option<String>,
    #[diesel(sql_type = Nullable<SmallInt>)]
    score: Option<i16>,
    #[diesel(sql_type = Nullable<Text>)]
    choice: Option<String>,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    pub questionnaire_id: Uuid,
    pub number: i32,
    pub start: Option<DateTime<Utc>>,
    pub end: Option<DateTime<Utc>>,
    pub questions: Vec<&'a str>,
    /// Those of the questions that are answered by choices.
    pub choice_questions: Vec<&'a str>,
}

pub async fn count(conn: &mut Conn, scope: &Scope<'_>) -> Result<Tally, Error> {
    let counts: Vec<Count> = diesel::sql_query(COUNT)
        .bind::<SqlUuid, _>(scope.questionnaire_id)
        .bind::<Integer, _>(scope.number)
        .bind::<Nullable<Timestamptz>, _>(scope.start)
        .bind::<Nullable<Timestamptz>, _>(scope.end)
        .bind::<Array<Text>, _>(&scope.questions)
        .bind::<Array<Text>, _>(&scope.choice_questions)
        .load(conn)
        .await?;
    let mut tally = Tally::default();
    for Count { what, question_id, score, choice, n } in counts {
        match (what.as_str(), question_id) {
            ("response", _) => {
                tally.responses += n;
                if score == Some(1) {
                    tally.dissatisfied += n;
                }
            }
            (_, Some(question_id)) => {
                let answers = tally.questions.entry(question_id).or_default();
                if let Some(choice) = choice {
                    answers.choices.insert(choice, n);
                } else {
                    answers.answered += n;
                    if let Some(score) = score {
                        answers.scores.insert(score.into(), n);
                    }
                }
            }
            (what, None) => return Err(Error::internal(format!("a count of {what} without a question"))),
        }
    }
    Ok(tally)
}
