use cqm_testkit::TestDatabase;
use futures::future::try_join_all;

use crate::MIGRATIONS;

#[tokio::test]
async fn processes_that_migrate_at_the_same_time_apply_each_migration_once() {
    let database = TestDatabase::empty().await;
    let config = cqm_db::DatabaseConfig::new(database.url.clone());
    let pending = cqm_db::pending(&config, MIGRATIONS).await.unwrap();
    assert!(!pending.is_empty());
    let processes = (0..6).map(|_| cqm_db::run(&config, MIGRATIONS));
    let applied: Vec<Vec<String>> = try_join_all(processes).await.unwrap();
    assert_eq!(applied.iter().filter(|names| !names.is_empty()).count(), 1, "{applied:?}");
    assert_eq!(applied.concat().len(), pending.len(), "{applied:?}");
    assert_eq!(cqm_db::pending(&config, MIGRATIONS).await.unwrap(), Vec::<String>::new());
}
