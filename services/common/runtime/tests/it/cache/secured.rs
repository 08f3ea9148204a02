//! Redis by TLS: whom it is believed by, what it is shown, and files that are exchanged.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use cqm_runtime::cache::{Cache, CacheConfig};
use cqm_runtime::redis_link::RedisTls;
use cqm_testkit::{Authority, Door, eventually};
use tempfile::TempDir;

use super::suite::{Suite, Table, version};

const HOST: &str = "127.0.0.1";

/// Files as a process has them.
struct Folder(TempDir);

impl Folder {
    fn of(authority: &Authority) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.fill(authority);
        folder
    }

    fn fill(&self, authority: &Authority) {
        let (certificate, key) = authority.papers_for("a-process-of-ours");
        for (name, text) in [("ca.crt", authority.pem()), ("tls.crt", certificate), ("tls.key", key)] {
            fs::write(self.path(name), text).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn stranger(&self) -> RedisTls {
        RedisTls { ca: Some(self.path("ca.crt")), ..RedisTls::default() }
    }

    fn colleague(&self) -> RedisTls {
        RedisTls {
            certificate: Some(self.path("tls.crt")),
            key: Some(self.path("tls.key")),
            ..self.stranger()
        }
    }
}

fn behind(suite: &Suite, door: &Door, redis_tls: RedisTls) -> CacheConfig {
    let redis_url = Some(format!("rediss://{}", door.address()).into());
    CacheConfig { redis_url, redis_tls, ..suite.config() }
}

/// Why a process would not use it.
async fn refused(config: &CacheConfig, suite: &Suite) -> String {
    Cache::new(config, &suite.service).unwrap().check().await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_redis_that_is_believed_is_used_by_tls_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (suite, table, files) = (Suite::new(), Table::default(), Folder::of(&ours));
    let door = Door::to_redis_by_tls(ours.vouch_for(HOST)).await;
    let cache = suite.replica_with(behind(&suite, &door, files.stranger())).await;
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    assert!(suite.value("1").await.is_some(), "the row has arrived in redis");
    assert_eq!(version(&suite.replica().await, "1", None, 2, &table).await, 1, "and is read without tls");

    let plain = Some(format!("redis://{}", door.address()).into());
    let plain = CacheConfig { redis_url: plain, redis_tls: RedisTls::default(), ..suite.config() };
    refused(&plain, &suite).await;

    let others = Folder::of(&theirs);
    let fooled = behind(&suite, &door, others.stranger());
    let cache = Cache::new(&fooled, &suite.service).unwrap();
    let told = cache.check().await.unwrap_err().to_string();
    assert!(told.contains("UnknownIssuer"), "{told}");
    // Nothing fails for it.
    assert_eq!(version(&cache, "2", None, 1, &table).await, 1);
    assert!(suite.value("2").await.is_none());

    door.show(ours.vouch_for("another.example.com"));
    let told = refused(&behind(&suite, &door, files.stranger()), &suite).await;
    assert!(told.contains("certificate"), "{told}");
}

#[tokio::test]
async fn a_redis_that_asks_for_a_certificate_is_shown_one() {
    let ours = Authority::new();
    let (suite, table, files) = (Suite::new(), Table::default(), Folder::of(&ours));
    let door = Door::to_redis_by_tls(ours.vouch_for_among_its_own(HOST)).await;
    refused(&behind(&suite, &door, files.stranger()), &suite).await;
    let theirs = Folder::of(&Authority::new());
    let impostor = RedisTls { ca: files.stranger().ca, ..theirs.colleague() };
    refused(&behind(&suite, &door, impostor), &suite).await;
    let cache = suite.replica_with(behind(&suite, &door, files.colleague())).await;
    assert_eq!(version(&cache, "1", None, 1, &table).await, 1);
    assert!(suite.value("1").await.is_some());
}

#[tokio::test]
async fn an_authority_and_a_certificate_that_are_exchanged_are_used_without_a_restart() {
    let (first, second) = (Authority::new(), Authority::new());
    let (suite, table, files) = (Suite::new(), Table::default(), Folder::of(&first));
    let door = Door::to_redis_by_tls(first.vouch_for_among_its_own(HOST)).await;
    let cache = suite.replica_with(behind(&suite, &door, files.colleague())).await;

    files.fill(&second);
    assert_eq!(version(&cache, "0", None, 1, &table).await, 1);
    assert!(suite.value("0").await.is_some(), "an open connection stays");

    door.show(second.vouch_for_among_its_own(HOST));
    door.close();
    let asked = AtomicUsize::new(1);
    eventually("redis is given up", async || {
        let id = asked.fetch_add(1, Ordering::SeqCst).to_string();
        assert_eq!(version(&cache, &id, None, 1, &table).await, 1, "and nothing fails");
        !cache.uses_redis()
    })
    .await;
    door.reopen();
    eventually("rows arrive in redis again", async || {
        let id = asked.fetch_add(1, Ordering::SeqCst).to_string();
        assert_eq!(version(&cache, &id, None, 1, &table).await, 1);
        suite.value(&id).await.is_some()
    })
    .await;
}
