//! What is counted of clocks, and by which index.

use std::time::Duration;

use cqm_db::{Db, EventsConfig};
use cqm_rpc::{Call, Clock as Wall};
use cqm_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

use super::*;

/// 4000 complaints, of which a hundredth has clocks that run: due at noon of a day and warned of an hour before, those that
/// have not been acknowledged on the 10th of January, the resolutions a day later each.
const STOCK: &str = "
    INSERT INTO complaints (id, reference, customer_id, channel, category, severity, subject, description, remedy_note,
        state, reopen_count, create_time, update_time, version)
    SELECT md5(n::text)::uuid, 'C-' || n, md5(n::text)::uuid, 1, 1, 1, 's', 'd', '', 1, 0, '2026-01-01', '2026-01-01', 1
    FROM generate_series(1, 4000) AS n;
    INSERT INTO complaint_clocks (complaint_id, clock, policy_version, target_us, consumed_us, resume_time, warn_time,
        due_time, end_time, told)
    SELECT md5(n::text)::uuid, clock, 1, 1, 0, due, due - interval '1 hour', due,
        CASE WHEN n > 40 OR n > 25 AND clock = 'FIRST_RESPONSE' THEN due END, 'NOTHING'
    FROM generate_series(1, 4000) AS n, unnest(ARRAY['FIRST_RESPONSE', 'RESOLUTION']) AS clock,
        LATERAL (SELECT timestamptz '2026-01-10T12:00:00Z'
            + CASE WHEN clock = 'RESOLUTION' THEN n * interval '1 day' ELSE '0' END AS due) AS times;
    ANALYZE complaint_clocks;";

/// Running, near and breached, of the first responses and of the resolutions.
async fn counts(conn: &mut Conn, now: &str) -> Result<[[i64; 3]; 2], Error> {
    let readings = clocks(conn, now.parse().expect("a time")).await?;
    let value = |clock: &str, state: &str| {
        let labels = [
            KeyValue::new("cqm.clock", clock.to_owned()),
            KeyValue::new("cqm.clock_state", state.to_owned()),
        ];
        readings.iter().find(|reading| reading.of == labels).map_or(-1, |reading| reading.value as i64)
    };
    assert_eq!(readings.len(), 6);
    let states =
        |clock: &'static str| ["RUNNING", "NEAR_BREACH", "BREACHED"].map(|state| value(clock, state));
    Ok(["FIRST_RESPONSE", "RESOLUTION"].map(states))
}

#[tokio::test]
async fn the_clocks_that_run_are_counted_by_what_they_show_and_by_their_index() {
    let database = TestDatabase::migrated(crate::MIGRATIONS).await;
    let db = Db::new(database.config(), EventsConfig::default(), Wall::system()).unwrap();
    let call = Call::internal("test", Duration::from_secs(60));
    let (before, found, plan) = db
        .tx(&call, "figures", async |conn| {
            let before = counts(conn, "2026-01-10T12:00:00Z").await?;
            conn.batch_execute(STOCK).await?;
            let mut found = Vec::new();
            for now in [
                "2026-01-10T10:59:59Z",
                "2026-01-10T11:00:00Z",
                "2026-01-10T12:00:00Z",
                "2026-01-20T11:30:00Z",
            ] {
                found.push(counts(conn, now).await?);
            }
            let text = CLOCKS.replace("$1", "now()");
            let plan: Vec<String> = plan(conn, &text).await?;
            Ok::<_, Error>((before, found, plan.join("\n")))
        })
        .await
        .unwrap();
    assert_eq!(before, [[0; 3]; 2], "a gauge keeps what it was told last");
    assert_eq!(
        found,
        [
            [[25, 0, 0], [40, 0, 0]],
            [[0, 25, 0], [40, 0, 0]],
            [[0, 0, 25], [40, 0, 0]],
            [[0, 0, 25], [30, 1, 9]],
        ]
    );
    assert!(plan.contains("complaint_clocks_running") && !plan.contains("Seq Scan"), "{plan}");
}

async fn plan(conn: &mut Conn, text: &str) -> Result<Vec<String>, Error> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
        line: String,
    }
    let lines: Vec<Line> = diesel::sql_query(format!("EXPLAIN (COSTS OFF) {text}")).load(conn).await?;
    Ok(lines.into_iter().map(|line| line.line).collect())
}
