//! A schema per test on a private Postgres.

use cqm_db::{DatabaseConfig, Migrations};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::Door;

/// A schema of its own with every migration applied. About 30 ms without fsync; the server is thrown away
/// with the test run, so nothing is cleaned up one by one.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    pub url: SecretString,
}

impl TestDatabase {
    pub async fn migrated(migrations: Migrations) -> Self {
        let database = Self::empty().await;
        cqm_db::run(&cqm_db::DatabaseConfig::new(database.url.clone()), migrations)
            .await
            .expect("the migrations apply to an empty schema");
        database
    }

    pub async fn empty() -> Self {
        let server = crate::environment("CQM_TEST_POSTGRES_URL");
        let schema = format!("test_{}", Uuid::now_v7().simple());
        let mut conn = AsyncPgConnection::establish(&server)
            .await
            .expect("the Postgres of CQM_TEST_POSTGRES_URL answers");
        conn.batch_execute(&format!("CREATE SCHEMA {schema}")).await.expect("a new schema");
        // Key-value form as `scripts/dev env` gives it, or a URL.
        let url = if server.contains("://") {
            let joint = if server.contains('?') { '&' } else { '?' };
            format!("{server}{joint}options=-csearch_path%3D{schema}")
        } else {
            format!("{server} options='-csearch_path={schema}'")
        };
        Self { url: url.into() }
    }

    /// The same database by the way through a door, [`Door::to_postgres`].
    pub fn behind(&self, door: &Door) -> Self {
        let (url, address) = (self.url.expose_secret(), door.address());
        assert!(
            !url.contains("://"),
            "a door needs the address in the key-value form that `scripts/dev env` gives"
        );
        let kept = url.split(' ').filter(|word| !word.starts_with("host=") && !word.starts_with("port="));
        let way = [format!("host={}", address.ip()), format!("port={}", address.port())];
        let words: Vec<&str> = way.iter().map(String::as_str).chain(kept).collect();
        Self { url: words.join(" ").into() }
    }

    /// A small pool: tests run side by side on one server.
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig {
            max_connections: 4,
            // Two cores run many tests at once: a wait that would be an overload in production is none here.
            acquire_timeout: std::time::Duration::from_secs(5),
            connect_timeout: std::time::Duration::from_secs(5),
            ..DatabaseConfig::new(self.url.clone())
        }
    }
}
