//! Migrations: run by `migrate` under an advisory lock, never by `serve`.

use cqm_rpc::BoxError;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::{DatabaseConfig, connect, messages};

/// One service's migrations, embedded in its binary.
pub type Migrations = EmbeddedMigrations;

/// The tables of this crate; they come before every service's own.
const FOUNDATION: EmbeddedMigrations = embed_migrations!("migrations");

/// Any number will do, as long as it is ours alone within one database. Together with the schema's name, so
/// that schemas of one database migrate side by side.
const LOCK: &str = "SELECT pg_advisory_lock(7166512, hashtext(current_schema()))";

/// How long a change waits for a table that others use. Too high: everybody who comes after it waits behind it. Too low: it
/// never finds a quiet moment; whoever runs it tries again.
const PATIENCE: &str = "SET lock_timeout = '5s'; SET statement_timeout = '10min'";

/// Applies what is pending and returns the names, in order. Waits while another process migrates, and then
/// finds nothing to do: the pending list is read inside the lock (diesel takes none itself).
pub async fn run(database: &DatabaseConfig, service: Migrations) -> Result<Vec<String>, BoxError> {
    let mut conn = connect::once(database).await?;
    conn.batch_execute(LOCK).await?;
    // Behind the advisory lock, which is waited for as long as another process migrates.
    conn.batch_execute(PATIENCE).await?;
    // diesel's harness is synchronous. The lock ends with the connection.
    tokio::task::spawn_blocking(move || {
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::from(conn);
        let mut applied = Vec::new();
        for source in [FOUNDATION, service] {
            for version in conn.run_pending_migrations(source)? {
                applied.push(version.to_string());
            }
        }
        Ok(applied)
    })
    .await?
}

/// The migrations that this binary knows and the database has not got. An error when the database cannot be used at
/// all: it does not answer, or in a language that is not understood.
pub async fn pending(database: &DatabaseConfig, service: Migrations) -> Result<Vec<String>, BoxError> {
    #[derive(diesel::QueryableByName)]
    struct Applied {
        #[diesel(sql_type = diesel::sql_types::Text)]
        version: String,
    }
    #[derive(diesel::QueryableByName)]
    struct Exists {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        present: bool,
    }
    let mut conn = connect::once(database).await?;
    messages::in_english(&mut conn).await?;
    let exists: Exists =
        diesel::sql_query("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS present")
            .get_result(&mut conn)
            .await?;
    let mut applied = Vec::new();
    if exists.present {
        applied = diesel::sql_query("SELECT version::text AS version FROM __diesel_schema_migrations")
            .load::<Applied>(&mut conn)
            .await?;
    }
    let mut pending = Vec::new();
    for source in [FOUNDATION, service] {
        let known: Vec<Box<dyn Migration<Pg>>> = source.migrations()?;
        for migration in known {
            let version = migration.name().version().to_string();
            if !applied.iter().any(|row| row.version == version) {
                pending.push(migration.name().to_string());
            }
        }
    }
    Ok(pending)
}
