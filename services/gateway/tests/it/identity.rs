//! Who calls: every way to be nobody.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cqm_gateway::backend::Backends;
use cqm_proto::customers::v1::GetCustomerRequest;
use cqm_rpc::Role;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tonic::Code;

use crate::desk::{self, Desk, Served};
use crate::tokens::{Key, claims, header, sign, sign_raw};
use crate::wire::{Answer, Edge, Wire};

const GET: &str = "/cqm.customers.v1.CustomerService/GetCustomer";

async fn edge() -> (Edge, Desk, Served) {
    let desk = Desk::default();
    let served = desk::serve(desk::config(), desk.clone()).await;
    let url = served.url();
    (Edge::at(&served.clock, Backends::at(|_| url.clone())).await, desk, served)
}

async fn get(wire: &Wire, token: &str) -> Answer {
    wire.call_with_token(GET, token, &GetCustomerRequest { name: "customers/1".into(), ..Default::default() })
        .await
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_gets_the_same_bytes() {
    let (edge, desk, _served) = edge().await;
    let wire = edge.wire().await;
    let now = edge.clock.now();
    let second = now.timestamp();
    let (issuer, key) = (&edge.issuer, &edge.issuer.key);
    let good = claims(now, &[Role::Supervisor]);
    let token = issuer.sign(&good);
    let stranger = Key::new("key-1");
    let public = key.pair.verifying_key();
    let parts: Vec<&str> = token.split('.').collect();
    let (first, rest) = token.split_at(token.len() - 10);
    let other_payload = URL_SAFE_NO_PAD.encode(with(good.clone(), "sub", json!("root")).to_string());
    let sign_as = |header: Header| sign(key, &header, &good);
    let raw = |header: Value| sign_raw(key, &header, &good);
    let eddsa = |extra: Value| {
        let mut header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "key-1"});
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        raw(header)
    };
    let secret = EncodingKey::from_secret(public.as_bytes());
    let hmac = Header { kid: Some("key-1".into()), ..Header::new(Algorithm::HS256) };

    let bad: Vec<(&str, String)> = vec![
        ("empty", String::new()),
        ("a word", "secret".into()),
        ("dots alone", "..".into()),
        ("two parts", parts[..2].join(".")),
        ("four parts", format!("{token}.AAAA")),
        ("cut short", first.to_owned()),
        ("a signature of zeros", format!("{first}{}", "A".repeat(rest.len()))),
        ("an empty signature", format!("{}.{}.", parts[0], parts[1])),
        ("padding", format!("{token}==")),
        ("spaces around", format!(" {token} ")),
        ("another payload under the signature", format!("{}.{other_payload}.{}", parts[0], parts[2])),
        ("too large", sign(key, &header(key), &with(good.clone(), "pad", json!("x".repeat(8 * 1024))))),
        (
            "no algorithm",
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"key-1"}"#), parts[1]),
        ),
        ("no algorithm, signed", raw(json!({"alg": "none", "kid": "key-1"}))),
        ("the public key as a secret", jsonwebtoken::encode(&hmac, &good, &secret).unwrap()),
        ("another algorithm's name", raw(json!({"alg": "ES256", "kid": "key-1"}))),
        ("an unknown algorithm", raw(json!({"alg": "Ed448", "kid": "key-1"}))),
        ("no key id", sign_as(Header::new(Algorithm::EdDSA))),
        ("an unknown key id", sign_as(Header { kid: Some("key-2".into()), ..header(key) })),
        ("an empty key id", sign_as(Header { kid: Some(String::new()), ..header(key) })),
        ("a path for a key id", sign_as(Header { kid: Some("../../dev/null".into()), ..header(key) })),
        ("another key under the id", sign(&stranger, &header(&stranger), &good)),
        ("another key in the header", {
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": stranger.public()});
            sign_raw(&stranger, &json!({"alg": "EdDSA", "kid": "key-1", "jwk": jwk}), &good)
        }),
        ("a key elsewhere", {
            sign_raw(&stranger, &json!({"alg": "EdDSA", "kid": "key-1", "jku": "http://127.0.0.1:1/"}), &good)
        }),
        ("another kind of token", eddsa(json!({"typ": "logout+jwt"}))),
        ("something critical", eddsa(json!({"crit": ["exp"], "exp": 1}))),
        ("unencoded payload", eddsa(json!({"crit": ["b64"], "b64": false}))),
        ("encryption", eddsa(json!({"enc": "A128GCM"}))),
        ("compression", eddsa(json!({"zip": "DEF"}))),
        ("a header that is a list", raw(json!(["EdDSA"]))),
        ("expired", issuer.sign(&with(good.clone(), "exp", json!(second - 6)))),
        ("not yet", issuer.sign(&with(good.clone(), "nbf", json!(second + 6)))),
        ("issued in the future", issuer.sign(&with(good.clone(), "iat", json!(second + 6)))),
        ("no expiry", issuer.sign(&without(good.clone(), "exp"))),
        ("expiry as a text", issuer.sign(&with(good.clone(), "exp", json!((second + 60).to_string())))),
        ("expiry without an end", issuer.sign(&with(good.clone(), "exp", json!(1e300)))),
        ("expiry below zero", issuer.sign(&with(good.clone(), "exp", json!(-1)))),
        ("another issuer", issuer.sign(&with(good.clone(), "iss", json!("https://evil.example.com")))),
        ("no issuer", issuer.sign(&without(good.clone(), "iss"))),
        (
            "two issuers",
            issuer.sign(&with(good.clone(), "iss", json!([good["iss"], "https://evil.example.com"]))),
        ),
        ("another audience", issuer.sign(&with(good.clone(), "aud", json!("other")))),
        ("no audience", issuer.sign(&without(good.clone(), "aud"))),
        ("an empty audience", issuer.sign(&with(good.clone(), "aud", json!([])))),
        ("no subject", issuer.sign(&without(good.clone(), "sub"))),
        ("an empty subject", issuer.sign(&with(good.clone(), "sub", json!("")))),
        ("the coordinator's subject", issuer.sign(&with(good.clone(), "sub", json!("coordinator")))),
        ("the suite's own subject", issuer.sign(&with(good.clone(), "sub", json!("internal")))),
        (
            "a line break in the subject",
            issuer.sign(&with(good.clone(), "sub", json!("a\nx-cqm-roles: supervisor"))),
        ),
        (
            "a comma-separated list of roles",
            issuer.sign(&with(good.clone(), "roles", json!("supervisor,root"))),
        ),
        ("claims that are a list", issuer.sign(&json!([good]))),
    ];
    assert!(bad.len() >= 50, "{} ways", bad.len());
    let expected = get(&wire, "no.to.ken").await;
    assert_eq!(expected.failure(), (Code::Unauthenticated, "TOKEN_INVALID".into()));
    for (what, token) in bad {
        let answer = get(&wire, &token).await;
        assert_eq!(answer.headers, expected.headers, "{what}");
        assert_eq!(
            (answer.body, answer.trailers),
            (expected.body.clone(), expected.trailers.clone()),
            "{what}"
        );
    }
    let twice = [("authorization", format!("Bearer {token}")), ("authorization", format!("Bearer {token}"))];
    let twice: Vec<(&str, &str)> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(wire.call(GET, &twice, b"").await.headers, expected.headers, "two tokens");
    let basic = [("authorization", "Basic c3RhZmY6c2VjcmV0")];
    assert_eq!(wire.call(GET, &basic, b"").await.headers, expected.headers, "a password");
    assert!(desk.all().is_empty(), "nobody got through");

    // The one that all of them were made from is good.
    assert_eq!(get(&wire, &token).await.status().code(), Code::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_the_caller_and_nothing_else_is() {
    let (edge, desk, _served) = edge().await;
    let wire = edge.wire().await;
    let now = edge.clock.now();
    let second = now.timestamp();
    let claims = claims(now, &[Role::Supervisor, Role::InternalService, Role::Coordinator, Role::Customer]);
    for claims in [
        claims.clone(),
        with(claims.clone(), "aud", json!(["other", "cqm"])),
        without(claims.clone(), "nbf"),
        with(claims.clone(), "exp", json!(second as f64 + 0.5)),
        // Within what clocks may differ by.
        with(with(claims.clone(), "exp", json!(second - 4)), "nbf", json!(second - 60)),
        with(claims.clone(), "nbf", json!(second + 4)),
    ] {
        let token = edge.issuer.sign(&claims);
        let bearer = format!("bearer {token}");
        let forged = [
            ("authorization", bearer.as_str()),
            ("x-cqm-caller", "coordinator"),
            ("x-cqm-roles", "coordinator"),
            ("x-cqm-anything", "forged"),
            ("x-cqm-pass", "forged"),
            ("x-cqm-purpose", "complaint handling"),
            ("cookie", "session=1"),
            ("x-request-id", "kept"),
        ];
        let answer = wire.call(GET, &forged, b"").await;
        assert_eq!(answer.status().code(), Code::Ok, "{claims}");
        let seen = desk.all().pop().unwrap();
        assert_eq!(seen.header("x-cqm-purpose"), Some("complaint handling"));
        assert_eq!(seen.header("x-request-id"), Some("kept"));
        for name in ["x-cqm-anything", "x-cqm-caller", "x-cqm-roles", "authorization", "cookie"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        assert_eq!(&*seen.call.caller.subject, "staff-7");
        assert_eq!(seen.call.caller.roles, [Role::Supervisor, Role::InternalService]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_a_signed_link_opens_anything() {
    let (edge, desk, _served) = edge().await;
    let wire = edge.wire().await;
    let answer = wire.call(GET, &[], b"").await;
    assert_eq!(answer.failure(), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
    let forged = [("x-cqm-caller", "staff-7"), ("x-cqm-roles", "service_manager")];
    let answer = wire.call(GET, &forged, b"").await;
    assert_eq!(answer.failure(), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
    assert!(desk.all().is_empty());

    let submit = "/cqm.surveys.v1.ResponseService/SubmitResponse";
    assert_eq!(wire.call(submit, &forged, b"").await.status().code(), Code::Ok);
    let seen = desk.all().pop().unwrap();
    assert_eq!(
        (&*seen.call.caller.subject, &seen.call.caller.roles[..]),
        ("customer", &[Role::Customer][..])
    );
    // Whoever brings a token is judged by it, also here.
    let answer = wire.call(submit, &[("authorization", "Bearer no.to.ken")], b"").await;
    assert_eq!(answer.failure(), (Code::Unauthenticated, "TOKEN_INVALID".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_when_it_says_also_one_that_was_checked_before() {
    let (edge, _desk, _served) = edge().await;
    let wire = edge.wire().await;
    let token = edge.issuer.token(edge.clock.now(), &[Role::Supervisor]);
    assert_eq!(get(&wire, &token).await.status().code(), Code::Ok);
    edge.clock.advance(Duration::from_secs(3600 + 4));
    assert_eq!(get(&wire, &token).await.status().code(), Code::Ok);
    edge.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&wire, &token).await.failure(), (Code::Unauthenticated, "TOKEN_INVALID".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_without_a_restart() {
    let (edge, _desk, _served) = edge().await;
    let wire = edge.wire().await;
    let issuer = &edge.issuer;
    let next = Key::new("key-2");
    let old = issuer.token(edge.clock.now(), &[Role::Supervisor]);
    let new = sign(&next, &header(&next), &claims(edge.clock.now(), &[Role::Supervisor]));
    let invalid = (Code::Unauthenticated, "TOKEN_INVALID".to_owned());
    assert_eq!(get(&wire, &old).await.status().code(), Code::Ok);

    issuer.publish(&[&issuer.key, &next]);
    assert_eq!(get(&wire, &new).await.failure(), invalid, "the file is not looked at for every call");
    edge.clock.advance(Duration::from_secs(30));
    assert_eq!(get(&wire, &new).await.status().code(), Code::Ok);
    assert_eq!(get(&wire, &old).await.status().code(), Code::Ok);

    // A withdrawn key's tokens end, also those that were checked before.
    issuer.publish(&[&next]);
    edge.clock.advance(Duration::from_secs(30));
    assert_eq!(get(&wire, &old).await.failure(), invalid);
    assert_eq!(get(&wire, &new).await.status().code(), Code::Ok);

    // A broken file changes nothing.
    issuer.write(b"{");
    edge.clock.advance(Duration::from_secs(30));
    assert_eq!(get(&wire, &new).await.status().code(), Code::Ok);
}
