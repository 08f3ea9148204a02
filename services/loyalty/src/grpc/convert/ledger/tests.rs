use cqm_rpc::{Reason as Why, reason};
use prost_types::Timestamp;

use super::*;
use crate::domain::member::Member;
use crate::domain::referral::ReferralCode;
use crate::store::Position;

const CUSTOMER: &str = "customers/01890a5d-ac96-774b-bcce-b302099a8057";
const REQUEST: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

fn purchase(currency: &str, units: i64, nanos: i32) -> WireBasis {
    WireBasis::Purchase(proto::PurchaseBasis {
        amount: Some(Money { currency_code: currency.into(), units, nanos }),
        purchase_time: Some(Timestamp { seconds: 1_000_000, nanos: 0 }),
    })
}

fn compensation(points: i64) -> WireBasis {
    WireBasis::Compensation(proto::CompensationBasis { points })
}

fn adjustment(points: i64) -> WireBasis {
    WireBasis::Adjustment(proto::AdjustmentBasis { points })
}

fn earn(basis: WireBasis) -> proto::EarnPointsRequest {
    proto::EarnPointsRequest {
        customer: CUSTOMER.into(),
        basis: Some(basis),
        source: "orders/1".into(),
        request_id: REQUEST.into(),
        ..Default::default()
    }
}

fn violations<T: std::fmt::Debug>(parsed: Result<T, Error>) -> Vec<(String, Why)> {
    match parsed.unwrap_err() {
        Error::Invalid(violations) => violations.iter().map(|v| (v.field.clone(), v.reason)).collect(),
        other => panic!("not about the message: {other}"),
    }
}

#[test]
fn a_basis_is_read_as_it_was_stated() {
    let time = DateTime::from_timestamp(1_000_000, 0).unwrap();
    for (wire, basis) in [
        (purchase("USD", 11, 770_000_000), Basis::Purchase { units: 11, time }),
        (purchase("CNY", 0, 990_000_000), Basis::Purchase { units: 0, time }),
        (purchase("CNY", i64::MAX, 0), Basis::Purchase { units: i64::MAX, time }),
        (WireBasis::Survey(proto::SurveyBasis {}), Basis::Survey),
        (compensation(1), Basis::Compensation { points: 1 }),
        (compensation(1_000_000), Basis::Compensation { points: 1_000_000 }),
        (adjustment(-1_000_000), Basis::Adjustment { points: -1_000_000 }),
        (adjustment(1_000_000), Basis::Adjustment { points: 1_000_000 }),
    ] {
        let command = Earn::parse(&earn(wire)).unwrap();
        assert_eq!(command.basis, basis);
        assert_eq!(
            (command.source.as_str(), command.request_id),
            ("orders/1", Uuid::parse_str(REQUEST).unwrap())
        );
    }
}

#[test]
fn what_is_wrong_with_a_basis_is_named() {
    let time = Some(Timestamp { seconds: 0, nanos: 0 });
    let money = |code: &str, units, nanos| Some(Money { currency_code: code.into(), units, nanos });
    let bought = |amount, purchase_time| WireBasis::Purchase(proto::PurchaseBasis { amount, purchase_time });
    for (basis, field, why) in [
        (bought(None, time), "purchase.amount", reason::FIELD_REQUIRED),
        (bought(money("CNY", 1, 0), None), "purchase.purchase_time", reason::FIELD_REQUIRED),
        (bought(money("", 1, 0), time), "purchase.amount.currency_code", reason::FIELD_REQUIRED),
        (bought(money("cny", 1, 0), time), "purchase.amount.currency_code", reason::FIELD_FORMAT),
        (bought(money("元", 1, 0), time), "purchase.amount.currency_code", reason::FIELD_FORMAT),
        (bought(money("CNYX", 1, 0), time), "purchase.amount.currency_code", reason::FIELD_FORMAT),
        (bought(money("CNY", -1, 0), time), "purchase.amount.units", reason::FIELD_RANGE),
        (bought(money("CNY", 0, -1), time), "purchase.amount.nanos", reason::FIELD_RANGE),
        (bought(money("CNY", 0, 1_000_000_000), time), "purchase.amount.nanos", reason::FIELD_RANGE),
        (compensation(0), "compensation.points", reason::FIELD_RANGE),
        (compensation(-1), "compensation.points", reason::FIELD_RANGE),
        (compensation(1_000_001), "compensation.points", reason::FIELD_RANGE),
        (adjustment(0), "adjustment.points", reason::FIELD_RANGE),
        (adjustment(1_000_001), "adjustment.points", reason::FIELD_RANGE),
        (adjustment(-1_000_001), "adjustment.points", reason::FIELD_RANGE),
        (adjustment(i64::MIN), "adjustment.points", reason::FIELD_RANGE),
    ] {
        assert_eq!(violations(Earn::parse(&earn(basis.clone()))), [(field.to_owned(), why)], "{basis:?}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let wrong = proto::EarnPointsRequest {
        customer: "customers/1".into(),
        basis: Some(purchase("", -1, -1)),
        source: "a b".into(),
        request_id: "x".into(),
        ..Default::default()
    };
    let fields = [
        ("customer", reason::FIELD_FORMAT),
        ("purchase.amount.currency_code", reason::FIELD_REQUIRED),
        ("purchase.amount.units", reason::FIELD_RANGE),
        ("purchase.amount.nanos", reason::FIELD_RANGE),
        ("source", reason::FIELD_FORMAT),
        ("request_id", reason::REQUEST_ID_FORMAT),
    ];
    assert_eq!(violations(Earn::parse(&wrong)), fields.map(|(field, why)| (field.to_owned(), why)));

    let empty = [
        ("customer", reason::FIELD_REQUIRED),
        ("basis", reason::FIELD_REQUIRED),
        ("request_id", reason::REQUEST_ID_REQUIRED),
    ];
    let found = violations(Earn::parse(&proto::EarnPointsRequest::default()));
    assert_eq!(found, empty.map(|(field, why)| (field.to_owned(), why)));

    let empty = [
        ("customer", reason::FIELD_REQUIRED),
        ("points", reason::FIELD_RANGE),
        ("request_id", reason::REQUEST_ID_REQUIRED),
    ];
    let found = violations(Redeem::parse(&proto::RedeemPointsRequest::default()));
    assert_eq!(found, empty.map(|(field, why)| (field.to_owned(), why)));
}

#[test]
fn an_account_shows_what_was_issued_as_earned() {
    let (mut member, _) = Member::enrol(Uuid::nil(), ReferralCode::of(Uuid::nil()), DateTime::UNIX_EPOCH);
    for (book, points) in [
        (Book::Available, 60),
        (Book::Issued, 98),
        (Book::Redeemed, 30),
        (Book::Held, 10),
        (Book::ClawbackDebt, 2),
    ] {
        member.books.set(book, points);
    }
    let shown = account(&Account::stored(member));
    assert_eq!((shown.available, shown.pending, shown.held), (60, 0, 10));
    assert_eq!((shown.lifetime_earned, shown.lifetime_redeemed, shown.debt), (98, 30, 2));
    assert_eq!(shown.etag, "v1");
}

#[test]
fn a_trial_balance_over_64_bits_is_refused() {
    let most = i128::from(i64::MAX);
    let balance = |debit, credit| TrialBalance {
        positions: vec![
            Position { book: Book::Issued, balance: debit },
            Position { book: Book::Available, balance: credit },
        ],
        members: 1,
        entries: 1,
    };
    let fits = trial_balance(&balance(most, most), DateTime::UNIX_EPOCH).unwrap();
    assert_eq!((fits.accounts[0].debit, fits.difference), (i64::MAX, 0));
    let over = trial_balance(&balance(most + 1, most), DateTime::UNIX_EPOCH).unwrap_err();
    assert_eq!(over.reason(), crate::error::BALANCE_OVERFLOW);
    let off = trial_balance(&balance(5, 3), DateTime::UNIX_EPOCH).unwrap();
    assert_eq!(off.difference, 2, "a ledger that does not balance is shown as it is");
}
