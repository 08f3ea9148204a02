//! Codes are told once, stored nowhere, and not to be guessed.

use std::path::PathBuf;
use std::process::{Child, Command};

use cqm_loyalty::domain::code::Seed;
use cqm_proto::loyalty::v1::reward_service_client::RewardServiceClient;
use cqm_proto::loyalty::v1::voucher_service_client::VoucherServiceClient;
use cqm_rpc::Clock;
use cqm_runtime::process;
use cqm_testkit::{Line, TestDatabase, environment, settings};
use futures::{StreamExt, stream};
use prost::Message;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::rewards::{gift, taking};
use crate::vouchers::consuming;

/// The service's own process over the test's database, telling all that it can tell into a file.
struct Talkative {
    child: Child,
    log: PathBuf,
}

impl Talkative {
    fn start(database: &TestDatabase) -> Self {
        let log = std::env::temp_dir().join(format!("cqm-loyalty-{}.log", Uuid::new_v4()));
        let child = Command::new(env!("CARGO_BIN_EXE_cqm-loyalty"))
            .arg("serve")
            .env_clear()
            .env("CQM__DATABASE__URL", database.url.expose_secret())
            .env("CQM__CACHE__REDIS_URL", environment("CQM_TEST_REDIS_URL"))
            .env("CQM__CACHE__KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
            .env("CQM__SERVER__PLAINTEXT", "true")
            .env("CQM__SERVER__LISTEN", "127.0.0.1:0")
            .env("CQM__PASSES__KEYS", cqm_testkit::passes().keys)
            .env("CQM__SERVICE__VOUCHER_KEYS", "a-key-of-the-tests-and-of-nobody-else")
            .env("CQM__TELEMETRY__FILTER", "trace")
            .env("CQM__TELEMETRY__FILE", &log)
            .spawn()
            .expect("the service's binary runs");
        Self { child, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn channel(&self) -> Line {
        let address = cqm_testkit::until("the process serves", async || {
            let said = self.said();
            let line = said.lines().find(|line| line.contains("\"address\":"))?;
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["address"].as_str()?.parse().ok()
        });
        Line::to(address.await, "loyalty", Clock::system()).await
    }
}

impl Drop for Talkative {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// What would give a code away where it stood: as text, and as the bytes of it and of its number in hex.
fn traces(code: &str) -> Vec<String> {
    let plain = code.replace('-', "");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let number = plain[..24].chars().fold(0_u128, |number, symbol| {
        let value = "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(symbol).expect("a symbol of the alphabet");
        number << 5 | value as u128
    });
    vec![
        code.to_lowercase(),
        plain.to_lowercase(),
        hex(code.as_bytes()),
        hex(plain.as_bytes()),
        hex(&number.to_be_bytes()[1..]),
    ]
}

#[tokio::test]
async fn a_code_stands_in_no_table_no_event_and_no_log() {
    let mut loyalty = Loyalty::start().await;
    let process = Talkative::start(loyalty.kit.database());
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    // From here on the process answers.
    loyalty.kit.channel = process.channel().await;
    let reward = loyalty.offer(gift(10)).await;
    let message = taking(customer, &reward);
    let kept = loyalty.send(message.clone()).await.unwrap();
    assert_eq!(loyalty.send(message).await.unwrap().code, kept.code);
    let used = loyalty.take(customer, &reward).await.unwrap();
    let back = loyalty.take(customer, &reward).await.unwrap();
    loyalty.validate(&kept.code).await.unwrap();
    let consume = consuming(&used.code);
    loyalty.consume(consume.clone()).await.unwrap();
    loyalty.consume(consume.clone()).await.unwrap();
    let again = loyalty.consume(consuming(&used.code)).await.unwrap_err();
    loyalty.cancel(&back.voucher.clone().unwrap().name).await.unwrap();
    loyalty.validate(&back.code).await.unwrap();
    let events = loyalty.kit.events.next().await;
    assert_eq!(events.len(), 9);

    let tables = loyalty
        .kit
        .rows("SELECT to_jsonb(tablename)::text AS row FROM pg_tables WHERE schemaname = current_schema()")
        .await;
    assert!(tables.len() > 8, "{tables:?}");
    let mut stored = String::new();
    for table in &tables {
        for row in loyalty.kit.table(table.as_str().unwrap()).await {
            stored.push_str(&row.to_string().to_lowercase());
        }
    }
    assert!(stored.contains(&customer.to_string()), "the look finds what is there");
    let logged = process.said().to_lowercase();
    assert!(logged.contains("voucher_code"), "the look finds what is there");
    let printed = format!("{kept:?} {used:?} {back:?} {consume:?} {again:?}").to_lowercase();
    let told: Vec<u8> = events.iter().flat_map(|event| event.payload.clone()).collect();
    let told = String::from_utf8_lossy(&told).to_lowercase();
    let places = [("a table", stored), ("a log", logged), ("what is printed", printed), ("an event", told)];
    for trace in [&kept.code, &used.code, &back.code].into_iter().flat_map(|code| traces(code)) {
        for (place, text) in &places {
            assert!(!text.contains(&trace), "{trace} stands in {place}");
        }
    }
}

#[tokio::test]
async fn ten_thousand_guesses_find_nothing_and_cost_a_probe_each() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let reward = loyalty.offer(gift(10)).await;
    let taken = loyalty.take(customer, &reward).await.unwrap();
    loyalty.kit.events.next().await;
    // As many as make reading all of them dearer than looking one up.
    let others = "INSERT INTO voucher_code
                  SELECT sha256(id::text::bytea), gen_random_uuid(), gen_random_uuid()
                  FROM generate_series(1, 5000) AS other (id)";
    loyalty.kit.execute(others).await;
    loyalty.kit.execute("ANALYZE voucher_code").await;

    let loyal = &loyalty;
    let before = probes(&loyalty.kit).await;
    let guesses = (0..10_000_u128).map(|guess| {
        // Of the right form, check and all, as somebody would who knows how codes are made but not the key.
        let seed = Seed { voucher: Uuid::from_u128(guess), drawn: Uuid::new_v4() };
        let guess = STRANGERS.make(&seed).text();
        async move { loyal.validate(&guess).await.unwrap_err() }
    });
    let refusals: Vec<Status> = stream::iter(guesses).buffer_unordered(32).collect().await;
    assert_eq!(refusals.len(), 10_000);
    for status in &refusals {
        assert_eq!((status.code(), status.details()), (Code::NotFound, refusals[0].details()));
    }
    ours(Err::<(), _>(refusals[0].clone()), Code::NotFound, "VOUCHER_NOT_FOUND");
    // So is a real one, known to the last but the key, and a use of it.
    ours(loyalty.consume(consuming(&refusable())).await, Code::NotFound, "VOUCHER_NOT_FOUND");
    assert_eq!(loyalty.validate(&taken.code).await.unwrap().voucher, taken.voucher);

    // Connections tell what they did when they end.
    loyalty.kit.stop().await;
    let kit = &loyalty.kit;
    let counted = cqm_testkit::until("all probes are counted", async || {
        let (index, whole) = probes(kit).await;
        (index - before.0 >= 10_003).then_some((index - before.0, whole - before.1))
    })
    .await;
    // Who uses a code that is not found is looked for twice: it may just have got another name.
    assert_eq!(counted, (10_003, 0));
}

const STRANGERS: Keys = Keys::new(&["a-key-that-the-service-does-not-have"]);

/// A code of the service's own key that no voucher has.
fn refusable() -> String {
    RULES.voucher_keys.make(&Seed { voucher: Uuid::new_v4(), drawn: Uuid::new_v4() }).text()
}

/// How often the index of codes was asked, and how often the whole table was read.
async fn probes(kit: &Kit) -> (i64, i64) {
    let rows = kit
        .rows(
            "SELECT jsonb_build_array(idx_scan, seq_scan)::text AS row FROM pg_stat_user_tables
             WHERE schemaname = current_schema() AND relname = 'voucher_code'",
        )
        .await;
    let count = |place: usize| rows[0][place].as_i64().expect("a count");
    (count(0), count(1))
}

#[tokio::test]
async fn what_is_remembered_of_a_reward_is_no_code_without_its_key() {
    let mut loyalty = Loyalty::start().await;
    let customer = Uuid::now_v7();
    loyalty.given(customer, 100).await;
    let reward = loyalty.offer(gift(10)).await;
    let message = taking(customer, &reward);
    let taken = loyalty.send(message.clone()).await.unwrap();
    loyalty.kit.events.next().await;

    // Keys are changed while requests are on their way: the new one makes, the old one is still known.
    let both =
        Keys::new(&["a-new-key-of-the-tests-and-nobody-else", "a-key-of-the-tests-and-of-nobody-else"]);
    let new = Keys::new(&["a-new-key-of-the-tests-and-nobody-else"]);
    for (keys, known) in [(both, true), (new, false)] {
        let rules = Config { voucher_keys: keys, ..RULES };
        let stop = CancellationToken::new();
        let settings = settings::<App>(loyalty.kit.database(), rules);
        let mut other =
            process::start::<App>(settings, loyalty.kit.clock.clone(), stop.clone()).await.unwrap();
        other.ready().await;
        let channel = loyalty.kit.line(other.address()).await;
        let mut rewards = RewardServiceClient::new(channel.clone());
        let mut vouchers = VoucherServiceClient::new(channel);
        let validate = proto::ValidateVoucherRequest { code: taken.code.clone() };
        let found = vouchers.validate_voucher(request(Role::AfterSales, validate)).await;
        let again = rewards.redeem_reward(request(Role::ServiceRepresentative, message.clone())).await;
        if known {
            assert_eq!(found.unwrap().into_inner().voucher, taken.voucher);
            assert_eq!(again.unwrap().into_inner().encode_to_vec(), taken.encode_to_vec());
        } else {
            ours(found, Code::NotFound, "VOUCHER_NOT_FOUND");
            refused(again, Code::Internal, "INTERNAL");
        }
        stop.cancel();
        other.join().await;
    }
}
