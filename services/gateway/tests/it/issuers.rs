//! Several issuers at once, keys that are fetched, and what becomes of their tokens when they are away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cqm_gateway::backend::Backends;
use cqm_gateway::config::{IdentityConfig, IssuerConfig, Words};
use cqm_proto::customers::v1::GetCustomerRequest;
use cqm_rpc::{Clock, Role};
use cqm_runtime::tasks::detached;
use cqm_testkit::{Authority, eventually};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tonic::Code;

use crate::desk::{self, Desk, Served};
use crate::provider::Provider;
use crate::tokens::{Fixed, Issuer, Key, header, sign};
use crate::wire::{Answer, Edge, Wire};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// An edge that trusts these issuers, before a desk that stands for all services.
struct Scene {
    edge: Edge,
    wire: Wire,
    desk: Desk,
    _served: Served,
}

impl Scene {
    async fn trusting<const N: usize>(issuers: [IssuerConfig; N]) -> Self {
        Self::with(issuers, IdentityConfig::default(), desk::clock()).await
    }

    async fn with<const N: usize>(issuers: [IssuerConfig; N], times: IdentityConfig, clock: Clock) -> Self {
        let desk = Desk::default();
        let served =
            desk::serve_with(desk::config(), desk.clone(), &cqm_testkit::passes(), clock.clone()).await;
        let url = served.url();
        let named = issuers.into_iter().enumerate().map(|(index, issuer)| (index.to_string(), issuer));
        let identity = IdentityConfig { issuers: named.collect::<BTreeMap<_, _>>(), ..times };
        let config = Edge::config(Backends::at(|_| url.clone()), identity);
        let edge = Edge::start(config, &clock, Issuer::new()).await;
        let wire = edge.wire().await;
        Self { edge, wire, desk, _served: served }
    }

    async fn get(&self, token: &str) -> Answer {
        get(&self.wire, token).await
    }

    async fn is_good(&self, token: &str) -> bool {
        let answer = self.get(token).await;
        let status = answer.status();
        if status.code() == Code::Ok {
            return true;
        }
        assert_eq!(answer.failure(), (Code::Unauthenticated, "TOKEN_INVALID".into()));
        false
    }

    fn claims(&self, issuer: &str) -> Value {
        claims(&self.edge.clock, issuer)
    }

    fn later(&self, by: Duration) {
        self.edge.clock.advance(by);
    }
}

async fn get(wire: &Wire, token: &str) -> Answer {
    wire.call_with_token(GET, token, &GetCustomerRequest { name: "customers/1".into(), ..Default::default() })
        .await
}

/// The claims of a supervisor whose token is good for a week.
fn claims(clock: &Clock, issuer: &str) -> Value {
    let now = clock.now().timestamp();
    json!({"iss": issuer, "aud": "cqm", "sub": "staff-7", "iat": now, "exp": now + 7 * 86_400, "roles": ["supervisor"]})
}

fn words(words: &[&str]) -> Words<String> {
    Words(words.iter().map(|word| (*word).to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_and_a_staff_login_both_work() {
    let (cluster, login) = (Provider::open().await, Provider::open().await);
    let (account, staff) = (Fixed::rsa("6f5c", Algorithm::RS256), Fixed::ec("login-1"));
    cluster.publish(&[account.jwk()]);
    login.publish(&[staff.jwk()]);
    let importer = "system:serviceaccount:shop:importer";
    let scene = Scene::trusting([
        IssuerConfig {
            algorithms: Words(vec![Algorithm::RS256]),
            prefix: "cluster:".into(),
            internal_service: true,
            subjects: [("internal_service".to_owned(), words(&[importer]))].into(),
            ..cluster.trusted()
        },
        IssuerConfig {
            prefix: "staff:".into(),
            roles_claim: "realm_access.roles".into(),
            roles: [("supervisor".to_owned(), words(&["care-lead"]))].into(),
            ..login.trusted()
        },
    ])
    .await;
    let now = scene.edge.clock.now().timestamp();

    // As a kubelet projects it.
    let projected = account.sign(&json!({
        "aud": ["cqm"], "exp": now + 3607, "iat": now, "iss": cluster.issuer(), "jti": "f1a2", "nbf": now,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "importer", "uid": "0b1e"}},
        "sub": importer,
    }));
    assert!(scene.is_good(&projected).await);
    let caller = scene.desk.all().pop().unwrap().call.caller;
    assert_eq!(&*caller.subject, format!("cluster:{importer}"));
    assert_eq!(caller.roles, [Role::InternalService]);

    // As Keycloak writes it.
    let logged_in = staff.sign(&json!({
        "exp": now + 300, "iat": now, "auth_time": now, "jti": "9c", "iss": login.issuer(), "aud": ["cqm", "account"],
        "sub": "8a1f", "typ": "Bearer", "azp": "care-desk", "sid": "77",
        "realm_access": {"roles": ["offline_access", "care-lead"]}, "scope": "openid",
    }));
    assert!(scene.is_good(&logged_in).await);
    let caller = scene.desk.all().pop().unwrap().call.caller;
    assert_eq!((&*caller.subject, &caller.roles[..]), ("staff:8a1f", &[Role::Supervisor][..]));

    // Somebody else's account in the same cluster is known, and may nothing.
    let other = account.sign(&json!({
        "aud": ["cqm"], "exp": now + 3607, "iat": now, "iss": cluster.issuer(), "sub": "system:serviceaccount:shop:web",
    }));
    let answer = scene.get(&other).await;
    assert_eq!(answer.failure(), (Code::PermissionDenied, "ROLE_MISSING".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_issuers_token_is_another_issuers() {
    let (one, other) = (Provider::open().await, Provider::open().await);
    let (rsa, ec, ed) = (Fixed::rsa("a", Algorithm::RS256), Fixed::ec("b"), Key::new("c"));
    let strict = Fixed::rsa("a", Algorithm::PS256);
    one.publish(&[rsa.jwk()]);
    other.publish(&[ec.jwk(), ed.jwk()]);
    let scene = Scene::trusting([
        IssuerConfig { algorithms: Words(vec![Algorithm::RS256]), prefix: "1:".into(), ..one.trusted() },
        IssuerConfig { prefix: "2:".into(), ..other.trusted() },
    ])
    .await;
    let (ones, others) = (scene.claims(&one.issuer()), scene.claims(&other.issuer()));
    let swapped = |token: &str, kid: &str| {
        // The same signature under a header that names another key.
        let parts: Vec<&str> = token.split('.').collect();
        let header = crate::tokens::part(&json!({"alg": "RS256", "kid": kid}));
        format!("{header}.{}.{}", parts[1], parts[2])
    };
    for (what, token) in [
        ("the other's key and name", rsa.sign(&others)),
        ("the other's key, one's name", ec.sign(&ones)),
        ("an algorithm that the issuer does not use", strict.sign(&ones)),
        ("an elliptic key's id under RSA", swapped(&rsa.sign(&others), "b")),
        ("an Ed25519 key's id under RSA", swapped(&rsa.sign(&others), "c")),
        ("nobody's name", rsa.sign(&scene.claims("https://nobody.example.com"))),
        ("a name that only looks alike", rsa.sign(&scene.claims(&format!("{}/", one.issuer())))),
        ("zeros for an elliptic signature", {
            let token = ec.sign(&others);
            let (message, signature) = token.rsplit_once('.').unwrap();
            format!("{message}.{}", "A".repeat(signature.len()))
        }),
    ] {
        assert!(!scene.is_good(&token).await, "{what}");
    }
    assert!(scene.is_good(&rsa.sign(&ones)).await);
    assert!(scene.is_good(&ec.sign(&others)).await);
    assert!(scene.is_good(&sign(&ed, &header(&ed), &others)).await);
    assert_eq!(scene.desk.all().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_asked_for_once_in_thirty_seconds() {
    let provider = Provider::open().await;
    let (first, second, third) = (Key::new("1"), Key::new("2"), Key::new("3"));
    let token = |scene: &Scene, key: &Key| sign(key, &header(key), &scene.claims(&provider.issuer()));
    provider.publish(&[first.jwk()]);
    let scene = Scene::trusting([provider.trusted()]).await;
    assert!(scene.is_good(&token(&scene, &first)).await);
    assert_eq!(provider.asked(), 1, "at the start");

    // A new key is there with its first token.
    provider.publish(&[first.jwk(), second.jwk()]);
    assert!(scene.is_good(&token(&scene, &second)).await);
    assert!(scene.is_good(&token(&scene, &first)).await);
    assert_eq!(provider.asked(), 2);

    // Made-up keys are not: the issuer hears of none of them for half a minute.
    provider.publish(&[first.jwk(), second.jwk(), third.jwk()]);
    for _ in 0..10 {
        assert!(!scene.is_good(&token(&scene, &Key::new("made-up"))).await);
        assert!(!scene.is_good(&token(&scene, &third)).await);
    }
    scene.later(29 * SECOND);
    assert!(!scene.is_good(&token(&scene, &third)).await);
    assert_eq!(provider.asked(), 2);
    scene.later(SECOND);
    assert!(scene.is_good(&token(&scene, &third)).await);
    assert_eq!(provider.asked(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_come_with_a_new_key_wait_for_one_fetch() {
    let provider = Provider::open().await;
    let (old, new) = (Key::new("1"), Key::new("2"));
    provider.publish(&[old.jwk()]);
    let scene = Arc::new(Scene::with([provider.trusted()], IdentityConfig::default(), Clock::system()).await);
    provider.publish(&[old.jwk(), new.jwk()]);
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let (scene, token) =
                (Arc::clone(&scene), sign(&new, &header(&new), &scene.claims(&provider.issuer())));
            detached(async move { scene.is_good(&token).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
    assert_eq!(provider.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_last_for_a_day_of_outage_and_no_longer() {
    let mut provider = Provider::open().await;
    let (key, unknown) = (Key::new("1"), Key::new("2"));
    provider.publish(&[key.jwk()]);
    let scene = Scene::trusting([provider.trusted()]).await;
    let token = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
    assert!(scene.is_good(&token).await);

    provider.go().await;
    scene.later(DAY - SECOND);
    assert!(scene.is_good(&token).await, "checked before");
    let fresh = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
    assert!(scene.is_good(&fresh).await, "not checked before");
    let stranger = sign(&unknown, &header(&unknown), &scene.claims(&provider.issuer()));
    assert!(!scene.is_good(&stranger).await);

    // Now nobody can say whether the keys are still the issuer's.
    scene.later(SECOND);
    assert!(!scene.is_good(&token).await);
    assert!(!scene.is_good(&fresh).await);

    // It comes back, and so do its tokens, without a restart.
    provider.come_back().await;
    scene.later(30 * SECOND);
    eventually("the issuer's tokens are good again", async || scene.is_good(&token).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_at_the_start_is_there_when_it_comes() {
    let mut provider = Provider::open().await;
    let key = Key::new("1");
    provider.publish(&[key.jwk()]);
    provider.go().await;
    let scene = Scene::trusting([provider.trusted()]).await;
    let token = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
    assert!(!scene.is_good(&token).await);
    provider.come_back().await;
    scene.later(30 * SECOND);
    eventually("the issuer's tokens are good", async || scene.is_good(&token).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_ends_with_the_next_fetch() {
    let provider = Provider::open().await;
    let (old, new) = (Key::new("1"), Key::new("2"));
    provider.publish(&[old.jwk(), new.jwk()]);
    let scene = Scene::trusting([provider.trusted()]).await;
    let token = |key: &Key| sign(key, &header(key), &scene.claims(&provider.issuer()));
    let (olds, news) = (token(&old), token(&new));
    assert!(scene.is_good(&olds).await && scene.is_good(&news).await);
    provider.publish(&[new.jwk()]);
    assert!(scene.is_good(&olds).await, "not for every call");
    scene.later(Duration::from_secs(300));
    eventually("the withdrawn key's end", async || !scene.is_good(&olds).await).await;
    assert!(scene.is_good(&news).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_a_key_set_change_nothing() {
    let provider = Provider::open().await;
    let key = Key::new("1");
    provider.publish(&[key.jwk()]);
    let scene = Scene::trusting([provider.trusted()]).await;
    let token = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
    let made_up = |name: &str| {
        let stranger = Key::new(name);
        sign(&stranger, &header(&stranger), &scene.claims(&provider.issuer()))
    };
    let elsewhere = Provider::open().await;
    let huge = format!("{{\"keys\": [{}\"\"]}}", "\"\",".repeat(100_000));
    for (status, body) in [
        (500, "{\"keys\": []}"),
        (302, ""),
        (200, ""),
        (200, "<html>Sign in</html>"),
        (200, "{\"keys\": []}"),
        (200, "{\"keys\": [{\"kty\": \"oct\", \"kid\": \"1\", \"k\": \"AQAB\"}]}"),
        (200, huge.as_str()),
    ] {
        provider.answer_keys(status, body);
        scene.later(30 * SECOND);
        assert!(!scene.is_good(&made_up("3")).await, "{status}");
        assert!(scene.is_good(&token).await, "{status}");
    }
    // A discovery that speaks for somebody else.
    let four = Key::new("4");
    provider.publish(&[key.jwk(), four.jwk()]);
    elsewhere.publish(&[four.jwk()]);
    let fours = sign(&four, &header(&four), &scene.claims(&provider.issuer()));
    provider.discover(&elsewhere.issuer(), &elsewhere.url("/keys"));
    scene.later(30 * SECOND);
    assert!(!scene.is_good(&fours).await);
    assert!(scene.is_good(&token).await);
    assert_eq!(elsewhere.asked(), 0);
    // And one that speaks for this issuer again.
    provider.discover(&provider.issuer(), &provider.url("/keys"));
    scene.later(30 * SECOND);
    assert!(scene.is_good(&fours).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_hangs_does_not_hold_up_those_whose_keys_are_known() {
    let provider = Provider::open().await;
    let key = Key::new("1");
    provider.publish(&[key.jwk()]);
    // Longer than the test may take: who waits for the issuer waits for ever.
    let times = IdentityConfig { fetch_timeout: Duration::from_secs(3600), ..IdentityConfig::default() };
    let scene = Scene::with([provider.trusted()], times, desk::clock()).await;
    let token = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
    provider.stuck(true);
    scene.later(Duration::from_secs(300));
    for _ in 0..10 {
        assert!(scene.is_good(&token).await);
    }
    // The discovery and the keys at the start, and the discovery that is not answered.
    eventually("the fetch that hangs", async || provider.requests() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_over_tls_from_whom_the_configuration_trusts() {
    let folder = tempfile::tempdir().unwrap();
    let (trusted, stranger) = (Authority::new(), Authority::new());
    let (ca, bearer) = (folder.path().join("ca.pem"), folder.path().join("token"));
    std::fs::write(&ca, trusted.pem()).unwrap();
    std::fs::write(&bearer, "the-pods-own-token\n").unwrap();
    let key = Key::new("1");
    for (authority, good) in [(&trusted, true), (&stranger, false)] {
        let provider = Provider::secured(&authority.vouch_for("127.0.0.1")).await;
        provider.publish(&[key.jwk()]);
        let issuer =
            IssuerConfig { ca: Some(ca.clone()), bearer: Some(bearer.clone()), ..provider.trusted() };
        let scene = Scene::trusting([issuer]).await;
        let token = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
        assert_eq!(scene.is_good(&token).await, good);
        let seen = good.then(|| "Bearer the-pods-own-token".to_owned());
        assert_eq!(provider.credentials(), seen, "and nobody else reads the token");
    }
    // Not from https to http.
    let provider = Provider::secured(&trusted.vouch_for("127.0.0.1")).await;
    let plain = Provider::open().await;
    plain.publish(&[key.jwk()]);
    provider.discover(&provider.issuer(), &plain.url("/keys"));
    let scene = Scene::trusting([IssuerConfig { ca: Some(ca), ..provider.trusted() }]).await;
    let token = sign(&key, &header(&key), &scene.claims(&provider.issuer()));
    assert!(!scene.is_good(&token).await);
    assert_eq!(plain.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_authority_is_exchanged_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let (first, second) = (Authority::new(), Authority::new());
    std::fs::write(&ca, first.pem()).unwrap();
    let mut provider = Provider::secured(&first.vouch_for("127.0.0.1")).await;
    let (old, new) = (Key::new("old"), Key::new("new"));
    provider.publish(&[old.jwk()]);
    let times = IdentityConfig {
        refresh: Duration::from_millis(50),
        retry: Duration::from_millis(1),
        ..IdentityConfig::default()
    };
    let issuer = IssuerConfig { ca: Some(ca.clone()), ..provider.trusted() };
    let scene = Scene::with([issuer], times, Clock::system()).await;
    let token = |key: &Key| sign(key, &header(key), &scene.claims(&provider.issuer()));
    let (by_old, by_new) = (token(&old), token(&new));
    assert!(scene.is_good(&by_old).await);

    // Half of it: who was believed before is believed still.
    std::fs::write(&ca, &second.pem()[..100]).unwrap();
    let asked = provider.asked();
    eventually("two more fetches", async || {
        assert!(scene.is_good(&by_old).await);
        provider.asked() >= asked + 2
    })
    .await;

    provider.go().await;
    provider.show(&second.vouch_for("127.0.0.1"));
    provider.publish(&[new.jwk()]);
    std::fs::write(&ca, second.pem()).unwrap();
    provider.come_back().await;
    eventually("the new key", async || scene.is_good(&by_new).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_keys_are_exchanged_under_load_without_a_failed_call() {
    let provider = Provider::open().await;
    let mut keys = vec![Key::new("key-0")];
    provider.publish(&[keys[0].jwk()]);
    let times = IdentityConfig {
        refresh: Duration::from_millis(50),
        retry: Duration::from_millis(1),
        ..IdentityConfig::default()
    };
    let scene = Arc::new(Scene::with([provider.trusted()], times, Clock::system()).await);
    let token = |key: &Key| Arc::<str>::from(sign(key, &header(key), &scene.claims(&provider.issuer())));
    let (current, publish) = tokio::sync::watch::channel(token(&keys[0]));
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = Vec::new();
    for _ in 0..8 {
        let (wire, tokens) = (scene.edge.wire().await, publish.clone());
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        callers.push(detached(async move {
            while !stop.load(Ordering::SeqCst) {
                let token = tokens.borrow().clone();
                let answer = get(&wire, &token).await;
                assert_eq!(answer.status().code(), Code::Ok);
                calls.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let more = async |count: usize| {
        let before = calls.load(Ordering::SeqCst);
        eventually("more calls", async || calls.load(Ordering::SeqCst) >= before + count).await;
    };
    for number in 1..=5 {
        more(50).await;
        keys.push(Key::new(&format!("key-{number}")));
        let [.., old, new] = &keys[..] else { panic!("two keys") };
        // As issuers do it: the new key is told before it signs, and the old one is withdrawn when its tokens are over.
        provider.publish(&[old.jwk(), new.jwk()]);
        let olds = current.send_replace(token(new));
        more(50).await;
        provider.publish(&[new.jwk()]);
        eventually("the old key's end", async || !scene.is_good(&olds).await).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("no call has failed");
    }
}
