//! What services are shown with a call: forged in every way, signed by other keys, and past the edge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cqm_gateway::backend::{Backend, Backends};
use cqm_gateway::edge::EdgeConfig;
use cqm_rpc::{Caller, Clock, Role};
use cqm_runtime::pass::{Mint, PassesConfig, SigningConfig};
use cqm_runtime::tasks::detached;
use cqm_testkit::eventually;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::desk::{self, Desk};
use crate::tokens::{Fixed, Issuer, Key, part, sign_raw};
use crate::wire::{Answer, Edge, Wire};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";
const LIST: &str = "/cqm.customers.v1.CustomerService/ListCustomers";
const ACCOUNT: &str = "/cqm.loyalty.v1.LedgerService/GetAccount";
const SUBMIT: &str = "/cqm.surveys.v1.ResponseService/SubmitResponse";
const REFUSED: (Code, &str) = (Code::Unauthenticated, "TOKEN_INVALID");

async fn show(wire: &Wire, path: &str, pass: &str) -> Answer {
    wire.call(path, &[("x-cqm-pass", pass)], b"").await
}

fn said(answer: &Answer) -> (Code, String) {
    answer.failure()
}

/// A key as passes are signed by, with its id.
struct PassKey {
    pair: SigningKey,
    key: Key,
}

impl PassKey {
    /// The one that services under test take.
    fn trusted() -> Self {
        use ed25519_dalek::pkcs8::DecodePrivateKey;
        let pem = std::fs::read_to_string(cqm_testkit::signing().key).unwrap();
        let pem = &pem[pem.find("-----").unwrap()..];
        Self::of(SigningKey::from_pkcs8_pem(pem).unwrap())
    }

    fn new() -> Self {
        Self::of(SigningKey::from_bytes(&rand::random()))
    }

    fn of(pair: SigningKey) -> Self {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        use sha2::{Digest, Sha256};
        let x = URL_SAFE_NO_PAD.encode(pair.verifying_key().as_bytes());
        // RFC 7638.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
        Self { key: Key { id, pair: pair.clone() }, pair }
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "cqm-pass+jwt", "kid": self.key.id})
    }

    fn sign(&self, claims: &Value) -> String {
        sign_raw(&self.key, &self.header(), claims)
    }

    fn private(&self) -> String {
        self.pair.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    }

    fn public(&self) -> String {
        self.pair.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()
    }

    /// Signs with this key as a gateway does.
    fn mint(&self, folder: &Path, clock: &Clock) -> Mint {
        let path = folder.join(format!("{}.pem", self.key.id));
        std::fs::write(&path, self.private()).unwrap();
        Mint::new(&SigningConfig { key: path, ..SigningConfig::default() }, clock.clone()).unwrap()
    }
}

fn good(clock: &Clock) -> Value {
    let now = clock.now().timestamp();
    json!({
        "iss": "cqm", "aud": "customer-data", "sub": "staff-7", "roles": ["supervisor"], "method": GET,
        "iat": now, "exp": now + 10,
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

async fn pass(mint: &Mint, backend: Backend, path: &str, caller: &Caller) -> String {
    let mut headers = http::HeaderMap::new();
    mint.for_service(backend.name()).stamp(&mut headers, path, caller).await.unwrap();
    headers["x-cqm-pass"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_no_call_that_has_come_past_the_edge() {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let wire = Wire::to(served.address()).await;
    let issuer = Issuer::new();
    let bearer = format!("Bearer {}", issuer.token(served.clock.now(), &[Role::ServiceManager]));
    for path in [GET, LIST, ACCOUNT, SUBMIT] {
        for headers in [
            &[][..],
            &[("x-cqm-caller", "coordinator"), ("x-cqm-roles", "service_manager,coordinator")][..],
            // A caller's own token says nothing here.
            &[("authorization", bearer.as_str())][..],
        ] {
            let answer = wire.call(path, headers, b"").await;
            assert_eq!(said(&answer), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()), "{path}");
        }
    }
    assert!(desk.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_pass_gets_the_same_bytes() {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let wire = Wire::to(served.address()).await;
    let (key, stranger, claims) = (PassKey::trusted(), PassKey::new(), good(&served.clock));
    let now = served.clock.now().timestamp();
    let token = key.sign(&claims);
    let parts: Vec<&str> = token.split('.').collect();
    let changed = |name: &str, value: Value| key.sign(&with(claims.clone(), name, value));
    let lacking = |name: &str| key.sign(&without(claims.clone(), name));
    let headed = |name: &str, value: Value| sign_raw(&key.key, &with(key.header(), name, value), &claims);
    let secret = EncodingKey::from_secret(key.pair.verifying_key().as_bytes());
    let mut hmac = Header::new(Algorithm::HS256);
    (hmac.typ, hmac.kid) = (Some("cqm-pass+jwt".into()), Some(key.key.id.clone()));
    let bad = [
        ("empty", String::new()),
        ("a word", "staff-7".into()),
        ("two parts", parts[..2].join(".")),
        ("four parts", format!("{token}.AAAA")),
        ("an empty signature", format!("{}.{}.", parts[0], parts[1])),
        ("a signature of zeros", format!("{}.{}.{}", parts[0], parts[1], "A".repeat(parts[2].len()))),
        ("another payload", {
            let payload = part(&with(claims.clone(), "roles", json!(["coordinator"])));
            format!("{}.{payload}.{}", parts[0], parts[2])
        }),
        ("too large", changed("pad", json!("x".repeat(2048)))),
        ("a stranger's key", stranger.sign(&claims)),
        ("a stranger's key under the id", sign_raw(&stranger.key, &key.header(), &claims)),
        ("no algorithm", format!("{}.{}.", part(&with(key.header(), "alg", json!("none"))), parts[1])),
        ("another algorithm's name", headed("alg", json!("ES256"))),
        ("the public key as a secret", jsonwebtoken::encode(&hmac, &claims, &secret).unwrap()),
        ("an RSA signature", Fixed::rsa("1", Algorithm::RS256).sign(&claims)),
        ("no key id", sign_raw(&key.key, &without(key.header(), "kid"), &claims)),
        ("another kind of token", headed("typ", json!("JWT"))),
        ("no kind", sign_raw(&key.key, &without(key.header(), "typ"), &claims)),
        ("something critical", headed("crit", json!(["exp"]))),
        ("another service's", changed("aud", json!("loyalty"))),
        ("several services'", changed("aud", json!(["customer-data", "loyalty"]))),
        ("no service's", lacking("aud")),
        ("another method's", changed("method", json!(LIST))),
        ("another service's method", changed("method", json!(ACCOUNT))),
        ("a method without its slash", changed("method", json!(&GET[1..]))),
        ("every method's", changed("method", json!("*"))),
        ("no method's", lacking("method")),
        ("another issuer's", changed("iss", json!("https://login.example.com"))),
        ("nobody's", lacking("iss")),
        ("no subject", lacking("sub")),
        ("an empty subject", changed("sub", json!(""))),
        ("no roles", lacking("roles")),
        ("roles as a text", changed("roles", json!("supervisor"))),
        ("no beginning", lacking("iat")),
        ("no end", lacking("exp")),
        ("expired", key.sign(&with(with(claims.clone(), "iat", json!(now - 15)), "exp", json!(now - 5)))),
        ("not yet", key.sign(&with(with(claims.clone(), "iat", json!(now + 6)), "exp", json!(now + 16)))),
        ("for longer than a pass lives", changed("exp", json!(now + 61))),
        ("ending before it begins", changed("exp", json!(now - 1))),
        ("without an end", changed("exp", json!(i64::MAX))),
        ("times with a fraction", changed("iat", json!(now as f64 + 0.5))),
        ("claims that are a list", key.sign(&json!([claims]))),
    ];
    assert!(bad.len() >= 40, "{} ways", bad.len());
    let expected = show(&wire, GET, "no.pa.ss").await;
    assert_eq!(said(&expected), (REFUSED.0, REFUSED.1.to_owned()));
    for (what, pass) in &bad {
        let answer = show(&wire, GET, pass).await;
        assert_eq!(answer.headers, expected.headers, "{what}");
        assert_eq!((&answer.body, &answer.trailers), (&expected.body, &expected.trailers), "{what}");
    }
    let twice = [("x-cqm-pass", token.as_str()), ("x-cqm-pass", token.as_str())];
    assert_eq!(wire.call(GET, &twice, b"").await.headers, expected.headers, "two passes");
    assert!(desk.all().is_empty(), "nobody got through");

    // The one that all of them were made from is good, for its method, until it ends.
    assert_eq!(show(&wire, GET, &token).await.status().code(), Code::Ok);
    let seen = desk.all().pop().unwrap();
    assert_eq!(
        (&*seen.call.caller.subject, &seen.call.caller.roles[..]),
        ("staff-7", &[Role::Supervisor][..])
    );
    assert_eq!(seen.header("x-cqm-pass"), None, "nobody behind the gate sees it");
    assert_eq!(
        show(&wire, LIST, &token).await.headers,
        expected.headers,
        "checked before, for another method"
    );
    served.clock.advance(Duration::from_secs(14));
    assert_eq!(show(&wire, GET, &token).await.status().code(), Code::Ok, "clocks may differ by 5 s");
    served.clock.advance(Duration::from_secs(1));
    assert_eq!(show(&wire, GET, &token).await.headers, expected.headers, "checked before, and over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_take_the_edges_passes_is_away_and_no_callers_fault() {
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("keys.pem");
    std::fs::write(&keys, PassKey::new().public()).unwrap();
    let passes = PassesConfig { keys: keys.clone(), ..PassesConfig::default() };
    let served = desk::serve_with(desk::config(), Desk::default(), &passes, desk::clock()).await;
    let url = served.url();
    let edge = Edge::at(&served.clock, Backends::at(|_| url.clone())).await;
    let wire = edge.wire().await;
    let bearer = format!("Bearer {}", edge.issuer.token(edge.clock.now(), &[Role::Supervisor]));
    let headers = [("authorization", bearer.as_str())];
    let answer = wire.call(GET, &headers, b"").await;
    assert_eq!(said(&answer), (Code::Unavailable, "UNREACHABLE".into()));
    // The right key comes, and nobody has to restart anything.
    std::fs::write(&keys, std::fs::read(cqm_testkit::passes().keys).unwrap()).unwrap();
    edge.clock.advance(Duration::from_secs(1));
    assert_eq!(wire.call(GET, &headers, b"").await.status().code(), Code::Ok);
}

/// A file that somebody replaces, as Kubernetes does it: in one step.
fn put(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_passes_keys_are_exchanged_under_load_without_a_failed_call() {
    const SOON: Duration = Duration::from_millis(10);
    let folder = TempDir::new().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let (clock, caller) =
        (Clock::system(), Caller { subject: "staff-7".into(), roles: vec![Role::Supervisor] });
    let (signing, keys, probes) = (file("signing.pem"), file("keys.pem"), file("probe.pem"));
    let mut old = PassKey::new();
    put(&signing, &old.private());
    put(&keys, &old.public());
    put(&probes, &old.public());
    // One service under load, and one that takes the newest key alone: it tells what the edge signs with.
    let passes = |keys: &Path| PassesConfig { keys: keys.to_owned(), reload: SOON };
    let served = desk::serve_with(desk::config(), Desk::default(), &passes(&keys), clock.clone()).await;
    let probe = desk::serve_with(desk::config(), Desk::default(), &passes(&probes), clock.clone()).await;
    let backends = Backends::at(|backend| match backend {
        Backend::Loyalty => probe.url(),
        _ => served.url(),
    });
    let issuer = Issuer::new();
    let config = Edge::config(backends, issuer.trusted());
    let config = EdgeConfig {
        passes: SigningConfig { key: signing.clone(), reload: SOON, ..SigningConfig::default() },
        ..config
    };
    let edge = Edge::start(config, &clock, issuer).await;
    let bearer: Arc<str> = format!("Bearer {}", edge.issuer.token(clock.now(), &[Role::Supervisor])).into();

    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = Vec::new();
    for _ in 0..8 {
        let (wire, bearer) = (edge.wire().await, Arc::clone(&bearer));
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        callers.push(detached(async move {
            while !stop.load(Ordering::SeqCst) {
                let answer = wire.call(GET, &[("authorization", &*bearer)], b"").await;
                assert_eq!(answer.status().code(), Code::Ok);
                calls.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    let (direct, through) = (Wire::to(served.address()).await, edge.wire().await);
    for _ in 0..5 {
        let new = PassKey::new();
        let (old_mint, new_mint) = (old.mint(folder.path(), &clock), new.mint(folder.path(), &clock));
        let taken = async |mint: &Mint| {
            let pass = pass(mint, Backend::CustomerData, GET, &caller).await;
            show(&direct, GET, &pass).await.status().code() == Code::Ok
        };
        // The services learn the new key, then the edge signs with it, then the old one is withdrawn.
        put(&keys, &format!("{}{}", old.public(), new.public()));
        eventually("the service takes the new key", async || taken(&new_mint).await).await;
        put(&probes, &new.public());
        put(&signing, &new.private());
        eventually("the edge signs with the new key", async || {
            through.call(ACCOUNT, &[("authorization", &*bearer)], b"").await.status().code() == Code::Ok
        })
        .await;
        put(&keys, &new.public());
        eventually("the old key's end", async || !taken(&old_mint).await).await;
        let before = calls.load(Ordering::SeqCst);
        eventually("more calls", async || calls.load(Ordering::SeqCst) >= before + 50).await;
        old = new;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("no call has failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_is_used_for_half_of_its_life_and_for_nobody_else() {
    let clock = desk::clock();
    let mint = cqm_testkit::mint(clock.clone());
    let staff = |subject: &str, roles: &[Role]| Caller { subject: subject.into(), roles: roles.to_vec() };
    let one = staff("staff-7", &[Role::Supervisor]);
    let first = pass(&mint, Backend::CustomerData, GET, &one).await;
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(pass(&mint, Backend::CustomerData, GET, &one).await, first);
    for (backend, path, caller) in [
        (Backend::CustomerData, LIST, &one),
        (Backend::Loyalty, GET, &one),
        (Backend::CustomerData, GET, &staff("staff-8", &[Role::Supervisor])),
        (Backend::CustomerData, GET, &staff("staff-7", &[Role::Supervisor, Role::AfterSales])),
        (Backend::CustomerData, GET, &staff("staff-7", &[])),
    ] {
        assert_ne!(pass(&mint, backend, path, caller).await, first);
    }
    clock.advance(Duration::from_millis(1));
    assert_ne!(pass(&mint, Backend::CustomerData, GET, &one).await, first);
}
