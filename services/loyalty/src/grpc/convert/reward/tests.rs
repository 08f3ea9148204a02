use chrono::DateTime;
use cqm_proto::google::r#type::Money as Wire;
use prost_types::{Duration, FieldMask, Timestamp};

use super::*;

fn texts(texts: &[(&str, &str)]) -> Option<proto::LocalizedText> {
    let texts = texts.iter().map(|(locale, text)| ((*locale).to_owned(), (*text).to_owned())).collect();
    Some(proto::LocalizedText { texts })
}

fn gift() -> proto::Reward {
    proto::Reward {
        kind: proto::reward::Kind::Gift.into(),
        display_name: texts(&[("zh-CN", "马克杯"), ("en", "A mug")]),
        price: 500,
        ..Default::default()
    }
}

fn wire(code: &str, units: i64, nanos: i32) -> Wire {
    Wire { currency_code: code.into(), units, nanos }
}

fn coupon(discount: Option<WireDiscount>, minimum_order: Option<Wire>) -> proto::Reward {
    let coupon = Some(proto::CouponTerms { discount, minimum_order });
    proto::Reward { kind: proto::reward::Kind::Coupon.into(), coupon, ..gift() }
}

fn amount(code: &str, units: i64, nanos: i32) -> Option<WireDiscount> {
    Some(WireDiscount::AmountOff(wire(code, units, nanos)))
}

fn share(points: i32) -> Option<WireDiscount> {
    Some(WireDiscount::BasisPoints(points))
}

fn create(reward: proto::Reward) -> Result<Create, Error> {
    Create::parse(&proto::CreateRewardRequest { reward: Some(reward), request_id: String::new() })
}

fn violations<T: std::fmt::Debug>(parsed: Result<T, Error>) -> Vec<String> {
    match parsed.unwrap_err() {
        Error::Invalid(found) => found.iter().map(|v| format!("{} {}", v.field, v.reason.name)).collect(),
        other => panic!("not about the message: {other}"),
    }
}

#[test]
fn a_reward_is_read_as_it_was_stated_and_told_as_it_was_read() {
    let full = proto::Reward {
        description: texts(&[("zh-CN", "一只\n白色的马克杯")]),
        stock: Some(0),
        start_time: Some(Timestamp { seconds: 10, nanos: 0 }),
        end_time: Some(Timestamp { seconds: 20, nanos: 0 }),
        most_per_member: 2,
        voucher_lifetime: Some(Duration { seconds: 86_400, nanos: 0 }),
        ..gift()
    };
    let off = coupon(amount("CNY", 0, 500_000_000), Some(wire("CNY", 100, 0)));
    for stated in [gift(), full, off, coupon(share(10_000), Some(wire("USD", 1, 0)))] {
        let Create { kind, offer } = create(stated.clone()).unwrap();
        let told = reward(&Reward::draft(Uuid::nil(), kind, offer, DateTime::UNIX_EPOCH));
        let expected = proto::Reward {
            name: format!("rewards/{}", Uuid::nil()),
            state: proto::reward::State::Draft.into(),
            create_time: told.create_time,
            update_time: told.update_time,
            etag: "v1".into(),
            ..stated
        };
        assert_eq!(told, expected);
    }
}

#[test]
fn everything_that_is_wrong_with_a_reward_is_told() {
    let long = "长".repeat(101);
    for (reward, wrong) in [
        (proto::Reward::default(), vec!["reward.kind ENUM_UNKNOWN", "reward.display_name FIELD_REQUIRED"]),
        (
            proto::Reward {
                display_name: texts(&[("en", "A mug"), ("fr", "Une tasse")]),
                description: texts(&[("zh-CN", " ")]),
                price: -1,
                stock: Some(-1),
                start_time: Some(Timestamp { seconds: 0, nanos: -1 }),
                most_per_member: -1,
                voucher_lifetime: Some(Duration { seconds: 1, nanos: 1 }),
                coupon: Some(proto::CouponTerms::default()),
                ..gift()
            },
            vec![
                "reward.display_name.texts.fr FIELD_FORMAT",
                "reward.display_name.texts.zh-CN FIELD_REQUIRED",
                "reward.description.texts.zh-CN FIELD_REQUIRED",
                "reward.price FIELD_RANGE",
                "reward.stock FIELD_RANGE",
                "reward.start_time FIELD_RANGE",
                "reward.most_per_member FIELD_RANGE",
                "reward.voucher_lifetime FIELD_RANGE",
                "reward.coupon.discount FIELD_REQUIRED",
                "reward.coupon FIELD_FORMAT",
            ],
        ),
        (
            proto::Reward { display_name: texts(&[("zh-CN", &long)]), ..gift() },
            vec!["reward.display_name.texts.zh-CN FIELD_TOO_LONG"],
        ),
        (
            proto::Reward { display_name: texts(&[("zh-CN", "杯\u{202e}")]), ..gift() },
            vec!["reward.display_name.texts.zh-CN FORBIDDEN_CHARACTER"],
        ),
        (
            proto::Reward {
                start_time: Some(Timestamp { seconds: 9, nanos: 0 }),
                end_time: Some(Timestamp { seconds: 9, nanos: 0 }),
                ..gift()
            },
            vec!["reward.end_time FIELD_ORDER"],
        ),
        (
            proto::Reward { voucher_lifetime: Some(Duration { seconds: 0, nanos: 0 }), ..gift() },
            vec!["reward.voucher_lifetime FIELD_RANGE"],
        ),
        (
            proto::Reward { voucher_lifetime: Some(Duration { seconds: i64::MAX, nanos: 0 }), ..gift() },
            vec!["reward.voucher_lifetime FIELD_RANGE"],
        ),
        (proto::Reward { coupon: None, ..coupon(None, None) }, vec!["reward.coupon FIELD_REQUIRED"]),
        (coupon(None, None), vec!["reward.coupon.discount FIELD_REQUIRED"]),
        (coupon(share(0), None), vec!["reward.coupon.basis_points FIELD_RANGE"]),
        (coupon(share(10_001), None), vec!["reward.coupon.basis_points FIELD_RANGE"]),
        (coupon(amount("CNY", 0, 0), None), vec!["reward.coupon.amount_off.units FIELD_RANGE"]),
        (
            coupon(amount("cny", -1, -1), Some(wire("", 1, 0))),
            vec![
                "reward.coupon.amount_off.currency_code FIELD_FORMAT",
                "reward.coupon.amount_off.nanos FIELD_RANGE",
                "reward.coupon.amount_off.units FIELD_RANGE",
                "reward.coupon.minimum_order.currency_code FIELD_REQUIRED",
            ],
        ),
        (
            coupon(amount("CNY", 1, 0), Some(wire("USD", 1, 0))),
            vec!["reward.coupon.minimum_order.currency_code FIELD_FORMAT"],
        ),
    ] {
        assert_eq!(violations(create(reward.clone())), wrong, "{reward:?}");
    }
    let nothing = proto::CreateRewardRequest { reward: None, request_id: "1".into() };
    assert_eq!(
        violations(Create::parse(&nothing)),
        ["request_id REQUEST_ID_FORMAT", "reward FIELD_REQUIRED"]
    );
}

fn update(reward: proto::Reward, paths: Option<&[&str]>) -> Result<Update, Error> {
    let mask = paths.map(|paths| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    let name = format!("rewards/{}", Uuid::nil());
    Update::parse(&proto::UpdateRewardRequest {
        reward: Some(proto::Reward { name, ..reward }),
        update_mask: mask,
        request_id: String::new(),
        etag: "v3".into(),
    })
}

#[test]
fn an_update_writes_what_its_mask_names_and_what_makes_sense_together() {
    let stated =
        proto::Reward { stock: Some(5), start_time: Some(Timestamp { seconds: 10, nanos: 0 }), ..gift() };
    let Create { kind, offer } = create(stated).unwrap();
    let before = Reward::draft(Uuid::nil(), kind, offer.clone(), DateTime::UNIX_EPOCH);
    let apply = |reward, paths| update(reward, paths).unwrap().apply(&before);

    let populated = apply(proto::Reward { price: 7, ..Default::default() }, None).unwrap();
    assert_eq!(populated, Offer { price: 7, ..offer.clone() });
    let cleared = apply(proto::Reward { price: 7, ..Default::default() }, Some(&["stock"])).unwrap();
    assert_eq!(cleared, Offer { stock: None, ..offer.clone() });
    let all = apply(gift(), Some(&["*"])).unwrap();
    assert_eq!(all, Offer { stock: None, start: None, ..offer });

    let early = proto::Reward { end_time: Some(Timestamp { seconds: 10, nanos: 0 }), ..Default::default() };
    assert_eq!(violations(apply(early, None)), ["reward.end_time FIELD_ORDER"]);
    assert_eq!(violations(apply(coupon(share(1), None), Some(&["coupon"]))), ["reward.coupon FIELD_FORMAT"]);
    let unknown = update(gift(), Some(&["kind", "taken"]));
    assert_eq!(violations(unknown), ["update_mask.kind FIELD_FORMAT", "update_mask.taken FIELD_FORMAT"]);
    assert_eq!(
        violations(update(proto::Reward::default(), Some(&["display_name"]))),
        ["reward.display_name FIELD_REQUIRED"]
    );
}
