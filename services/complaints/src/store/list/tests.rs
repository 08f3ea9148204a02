//! Which indexes Postgres takes: asked of a table that is large enough for the choice to matter.

use std::time::Duration;

use cqm_db::{Db, EventsConfig};
use cqm_rpc::{Call, Clock};
use cqm_testkit::TestDatabase;
use diesel::query_builder::{AstPass, Query as Statement, QueryFragment, QueryId};
use diesel::sql_types::Text;
use diesel_async::SimpleAsyncConnection;

use super::*;

/// As a table looks after some time: most complaints are closed, more are open than fit a page whatever is asked for, a customer has few, a member of staff some hundreds.
const STOCK: &str = "
    INSERT INTO complaints (id, reference, customer_id, channel, category, severity, subject, description, remedy_note,
        state, assignee, resolution_version, resolution_summary, compensation_points, resolution_time, reopen_count,
        close_time, create_time, update_time, version)
    SELECT md5(n::text)::uuid, 'C-' || n, md5((n % 4000)::text)::uuid, 1, 1 + n % 7, 1 + n / 7 % 4, 's', 'd', '',
        state, 'agent-' || n % 80, resolved, 's' || resolved, resolved, CASE WHEN resolved = 1 THEN time END, 0,
        CASE WHEN state = 5 THEN time END, time, time, 1
    FROM (
        SELECT n, CASE WHEN n % 40 < 16 THEN 1 + n % 4 ELSE 5 END AS state, timestamptz '2026-01-01' AS time
        FROM generate_series(1, 20000) AS n
    ) AS drawn, LATERAL (SELECT CASE WHEN state >= 4 THEN 1 END AS resolved) AS resolution;
    INSERT INTO complaint_clocks (complaint_id, clock, policy_version, target_us, consumed_us, resume_time, warn_time,
        due_time, end_time, told)
    SELECT id, clock, 1, 1, 0, create_time, create_time, create_time, CASE WHEN state >= 4 THEN create_time END, 'BREACH'
    FROM complaints, unnest(ARRAY['FIRST_RESPONSE', 'RESOLUTION']) AS clock;
    ANALYZE complaints, complaint_clocks;";

#[derive(QueryId)]
struct Explain<Q>(Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Explain<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql("EXPLAIN (COSTS OFF) ");
        self.0.walk_ast(out)
    }
}

impl<Q> Statement for Explain<Q> {
    type SqlType = Text;
}

#[tokio::test]
async fn an_index_gives_the_rows_and_the_order_of_every_list() {
    let database = TestDatabase::migrated(crate::MIGRATIONS).await;
    let db = Db::new(database.config(), EventsConfig::default(), Clock::system()).unwrap();
    let call = Call::internal("test", Duration::from_secs(60));
    let plans = db.tx(&call, "plans", async |conn| plans(conn).await).await.unwrap();
    assert_eq!(plans.len(), 128 * 3 * 2);
    for (query, plan) in plans {
        let Filter { customer, state, category, severity, assignee, open_only, .. } = &query.filter;
        let told = format!("{query:?}\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{told}");
        if *open_only && state.is_some() {
            assert!(plan.contains("One-Time Filter: false") && !plan.contains("Scan"), "{told}");
            continue;
        }
        let due = query.filter.due_before.is_some();
        if due {
            assert!(plan.contains("complaint_clocks_running"), "{told}");
        }
        if customer.is_some() || assignee.is_some() || due {
            let few = ["complaints_by_customer", "complaints_by_assignee"];
            // Each of those that are due by its id, whichever index has the rest of the filter before it.
            let looked_up =
                due && plan.lines().any(|line| line.contains("Index Cond:") && line.contains("id = ANY"));
            assert!(looked_up || few.iter().any(|index| plan.contains(index)), "{told}");
            continue;
        }
        assert!(!plan.contains("Filter:"), "rows are read and thrown away: {told}");
        assert!(!plan.contains("Sort"), "the whole match is read for one page: {told}");
        let by_severity = severity.is_some() || query.order == Order::MostSevere;
        let parts = [
            state.is_some().then_some("state"),
            category.is_some().then_some("category"),
            by_severity.then_some("severity"),
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let index = match (*open_only, parts.join("_")) {
            (true, parts) if parts.is_empty() => "complaints_open".to_owned(),
            (true, parts) => format!("complaints_open_by_{parts}"),
            (false, parts) if parts.is_empty() => "complaints_pkey".to_owned(),
            (false, parts) => format!("complaints_by_{parts}"),
        };
        assert!(plan.contains(&format!(" {index} ")), "expected {index}: {told}");
    }
}

async fn plans(conn: &mut Conn) -> Result<Vec<(Query, String)>, Error> {
    conn.batch_execute(STOCK).await?;
    let middle = Key { severity: Severity::Medium, id: Uuid::from_u128(u128::MAX / 2) };
    let mut plans = Vec::new();
    for combination in 0..128 {
        let on = |bit: u32| combination >> bit & 1 == 1;
        let filter = Filter {
            customer: on(0)
                .then(|| Uuid::parse_str("a87ff679-a2f3-e71d-9181-a67b7542122c").expect("md5 of 4")),
            state: on(1).then_some(State::Closed),
            category: on(2).then_some(Category::Logistics),
            severity: on(3).then_some(Severity::Medium),
            assignee: on(4).then(|| "agent-4".to_owned()),
            open_only: on(6),
            due_before: on(5).then(|| "2026-06-01T00:00:00Z".parse().expect("a time")),
        };
        for order in [Order::Newest, Order::Oldest, Order::MostSevere] {
            for after in [None, Some(middle)] {
                let query = Query { filter: filter.clone(), order, after, limit: 51 };
                let lines: Vec<String> = Explain(statement(&query)).load(conn).await?;
                plans.push((query, lines.join("\n")));
            }
        }
    }
    Ok(plans)
}
