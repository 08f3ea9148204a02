use cqm_db::{Conn, subjects};
use cqm_rpc::Error;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::{call, database};

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

async fn count(conn: &mut Conn, query: &str) -> Result<i64, Error> {
    Ok(diesel::sql_query(query).get_result::<Count>(conn).await?.count)
}

#[tokio::test]
async fn the_answers_about_all_names_of_a_person_are_forgotten_by_one_look_at_those_that_are_kept() {
    let db = database().await;
    let names: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    let stranger = Uuid::now_v7();
    db.tx(&call(), "forget", async |tx| {
        for customer in names.iter().chain([&stranger]) {
            diesel::sql_query(format!(
                "INSERT INTO idempotency (caller, request_id, method, body_digest, answer, create_time)
                 VALUES ('staff-7', gen_random_uuid(), '/', '', convert_to('of customers/{customer}.', 'UTF8'), now())"
            ))
            .execute(tx)
            .await?;
        }
        let scans = "SELECT seq_scan + idx_scan AS count FROM pg_stat_xact_user_tables
                     WHERE relname = 'idempotency' AND schemaname = current_schema()";
        let before = count(tx, scans).await?;
        assert_eq!(subjects::forget_answers(tx, &names).await?, 3);
        assert_eq!(count(tx, scans).await? - before, 1);
        let left = "SELECT count(*) FROM idempotency WHERE answer IS NOT NULL";
        assert_eq!(count(tx, left).await?, 1, "the stranger's");
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}
