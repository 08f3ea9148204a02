//! What stands in the database, past the service.

use std::time::Duration;

use cqm_rpc::{Call, Error};
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Kit;

impl Kit {
    /// The rows of a query with one column, `row`, of text that is JSON.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            row: String,
        }
        let rows: Result<Vec<Row>, Error> =
            self.db.read(&call(), "rows", async |conn| Ok(diesel::sql_query(query).load(conn).await?)).await;
        let rows = rows.expect("the query is answered");
        rows.iter().map(|row| serde_json::from_str(&row.row).expect("a row of JSON")).collect()
    }

    /// The rows of a table, in the order of its first column.
    pub async fn table(&self, table: &str) -> Vec<Value> {
        self.rows(&format!("SELECT to_jsonb({table})::text AS row FROM {table} ORDER BY 1")).await
    }

    /// The row of the resource `collection/{id}`, which must be there.
    pub async fn row(&self, table: &str, name: &str) -> Value {
        let (_, id) = name.split_once('/').expect("a resource name");
        let mut rows =
            self.rows(&format!("SELECT to_jsonb({table})::text AS row FROM {table} WHERE id = '{id}'")).await;
        assert_eq!(rows.len(), 1, "rows of {name}");
        rows.remove(0)
    }

    /// How many rows a table has, or as many of them as `table WHERE condition` says.
    pub async fn count(&self, table: &str) -> i64 {
        let rows = self.rows(&format!("SELECT count(*)::text AS row FROM {table}")).await;
        rows[0].as_i64().expect("a number of rows")
    }

    /// Changes rows as no caller can.
    pub async fn execute(&self, statement: &str) {
        let done: Result<usize, Error> = self
            .db
            .tx(&call(), "execute", async |tx| Ok(diesel::sql_query(statement).execute(tx).await?))
            .await;
        done.expect("the statement is executed");
    }
}

fn call() -> Call {
    Call::internal("testkit", Duration::from_secs(30))
}
