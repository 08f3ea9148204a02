//! The ledger's commands, accounts and entries.

use chrono::{DateTime, Utc};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1 as proto;
use cqm_proto::loyalty::v1::earn_points_request::Basis as WireBasis;
use cqm_rpc::{Error, Etag, PageRequest, Violations, time};
use uuid::Uuid;

use super::earning::{self, Context};
use super::member::name;
use super::{ENTRIES, HOLDS, TRANSACTIONS, check_currency, child, rule, source};
use crate::domain::Refusal;
use crate::domain::account::Account;
use crate::domain::book::Book;
use crate::domain::earning::Basis;
use crate::domain::entry::{Entry, Kind, Reason};
use crate::store::{Rewarded, TrialBalance};

/// The most points that one statement of a person gives or takes.
const MOST_STATED: i64 = 1_000_000;
const MOST_NANOS: i32 = 999_999_999;

/// Points are to be given for what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earn {
    pub customer: Uuid,
    pub basis: Basis,
    pub source: String,
    pub request_id: Uuid,
    pub context: Context,
}

impl Earn {
    pub fn parse(message: &proto::EarnPointsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let earn = Self::read(message, Violations::request_id, &mut violations);
        violations.finish()?;
        Ok(earn.expect("no violations, so there is everything"))
    }

    /// Reads everything but the request id, which is `request_id`'s to judge; `None` when something is wrong.
    pub fn read(
        message: &proto::EarnPointsRequest,
        request_id: impl FnOnce(&mut Violations, &str) -> Option<Uuid>,
        violations: &mut Violations,
    ) -> Option<Self> {
        let customer = super::customer(&message.customer, violations);
        let basis = basis(message.basis.as_ref(), violations);
        let mut source = source(&message.source, violations);
        if let Some(made) = earning::source(message, violations) {
            source = made;
        }
        let request_id = request_id(violations, &message.request_id);
        let context = earning::context(message, violations);
        Some(Self { customer: customer?, basis: basis?, source, request_id: request_id?, context })
    }
}

fn basis(basis: Option<&WireBasis>, violations: &mut Violations) -> Option<Basis> {
    match basis {
        None => {
            violations.required("basis");
            None
        }
        Some(WireBasis::Purchase(purchase)) => {
            let units = whole_units("purchase.amount", purchase.amount.as_ref(), violations);
            let time = time::required("purchase.purchase_time", purchase.purchase_time.as_ref(), violations);
            Some(Basis::Purchase { units: units?, time: time? })
        }
        Some(WireBasis::Survey(_)) => Some(Basis::Survey),
        Some(WireBasis::Compensation(compensation)) => {
            let points = compensation.points;
            if !(1..=MOST_STATED).contains(&points) {
                violations.range("compensation.points", &format!("1 to {MOST_STATED}"));
            }
            Some(Basis::Compensation { points })
        }
        Some(WireBasis::Adjustment(adjustment)) => {
            let points = adjustment.points;
            if points == 0 || !(-MOST_STATED..=MOST_STATED).contains(&points) {
                violations.range("adjustment.points", &format!("-{MOST_STATED} to {MOST_STATED} and not 0"));
            }
            Some(Basis::Adjustment { points })
        }
        Some(WireBasis::Birthday(_)) => Some(Basis::Birthday),
        Some(WireBasis::Referral(_)) => Some(Basis::Referral),
    }
}

/// Reads an amount of money, 0 or more, down to its whole units.
fn whole_units(field: &str, money: Option<&Money>, violations: &mut Violations) -> Option<i64> {
    let Some(money) = money else {
        violations.required(field);
        return None;
    };
    check_currency(field, &money.currency_code, violations);
    if money.units < 0 {
        violations.range(&format!("{field}.units"), "0 or more");
    }
    if !(0..=MOST_NANOS).contains(&money.nanos) {
        violations.range(&format!("{field}.nanos"), &format!("0 to {MOST_NANOS}"));
    }
    Some(money.units)
}

/// Points are to be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeem {
    pub customer: Uuid,
    pub points: i64,
    pub source: String,
    pub request_id: Uuid,
    pub etag: Option<Etag>,
}

impl Redeem {
    pub fn parse(message: &proto::RedeemPointsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        if message.points < 1 {
            violations.range("points", "1 or more");
        }
        let source = source(&message.source, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.finish()?;
        Ok(Self {
            customer: customer.expect("no violations, so there is a customer"),
            points: message.points,
            source,
            request_id: request_id.expect("no violations, so there is a request id"),
            etag,
        })
    }
}

/// Reads whose account is asked for.
pub fn get_account(message: &proto::GetAccountRequest) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let customer = super::customer(&message.customer, &mut violations);
    violations.finish()?;
    Ok(customer.expect("no violations, so there is a customer"))
}

/// A page of entries is asked for.
#[derive(Clone, Debug)]
pub struct ListEntries {
    pub customer: Uuid,
    /// By sequence, the last first.
    pub page: PageRequest<i64>,
}

impl ListEntries {
    pub fn parse(message: &proto::ListEntriesRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        let query = ["entries", &message.customer];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { customer: customer.expect("no violations, so there is a customer"), page })
    }

    pub fn answer(&self, entries: Vec<Entry>) -> proto::ListEntriesResponse {
        let page = self.page.page(entries, |entry| entry.sequence);
        proto::ListEntriesResponse {
            entries: page.items.iter().map(entry).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

/// What was given by a transaction, none without one.
pub fn earned(given: Option<&Rewarded>, to: &Account) -> proto::EarnPointsResponse {
    proto::EarnPointsResponse {
        entry: given.map(|given| entry(&given.entry)),
        points: given.map_or(0, |given| given.points),
        account: Some(account(to)),
    }
}

/// What an adjustment took: its last entry stands for all of them.
pub fn deducted(entries: &[Entry], from: &Account) -> proto::EarnPointsResponse {
    proto::EarnPointsResponse {
        entry: entries.last().map(entry),
        points: entries.iter().map(Entry::change).sum(),
        account: Some(account(from)),
    }
}

pub fn redeemed(made: &[Entry], from: &Account) -> proto::RedeemPointsResponse {
    proto::RedeemPointsResponse { entries: entries(made), account: Some(account(from)) }
}

pub fn account(account: &Account) -> proto::Account {
    let balance = |book| account.balance(book);
    proto::Account {
        member: name(account.member.customer).to_string(),
        available: balance(Book::Available),
        pending: balance(Book::Pending),
        held: balance(Book::Held),
        lifetime_earned: balance(Book::Issued),
        lifetime_redeemed: balance(Book::Redeemed),
        lifetime_expired: balance(Book::Expired),
        debt: balance(Book::ClawbackDebt),
        entry_count: account.member.entry_count,
        etag: Etag::of(account.member.version).to_string(),
    }
}

pub fn entry_name(customer: Uuid, id: Uuid) -> String {
    child(customer, ENTRIES, id)
}

pub fn entries(made: &[Entry]) -> Vec<proto::Entry> {
    made.iter().map(entry).collect()
}

fn entry(entry: &Entry) -> proto::Entry {
    use proto::entry as wire;
    let kind = match entry.kind {
        Kind::Earn => wire::Kind::Earn,
        Kind::Redeem => wire::Kind::Redeem,
        Kind::Adjust => wire::Kind::Adjust,
        Kind::Hold => wire::Kind::Hold,
        Kind::Commit => wire::Kind::Commit,
        Kind::Release => wire::Kind::Release,
        Kind::Mature => wire::Kind::Mature,
        Kind::Expire => wire::Kind::Expire,
        Kind::ReverseEarn => wire::Kind::ReverseEarn,
        Kind::ReverseSpend => wire::Kind::ReverseSpend,
        Kind::Repay => wire::Kind::Repay,
        Kind::Merge => wire::Kind::Merge,
    };
    let reason = match entry.reason {
        Reason::Purchase => wire::Reason::Purchase,
        Reason::SurveyAnswered => wire::Reason::SurveyAnswered,
        Reason::Compensation => wire::Reason::Compensation,
        Reason::Adjustment => wire::Reason::Adjustment,
        Reason::Redemption => wire::Reason::Redemption,
        Reason::Hold => wire::Reason::Hold,
        Reason::Time => wire::Reason::Time,
        Reason::Reversal => wire::Reason::Reversal,
        Reason::Referral => wire::Reason::Referral,
        Reason::Birthday => wire::Reason::Birthday,
        Reason::Reward => wire::Reason::Reward,
        Reason::Merge => wire::Reason::Merge,
    };
    proto::Entry {
        name: entry_name(entry.customer, entry.id),
        kind: kind.into(),
        points: entry.change(),
        balance_after: entry.balance_after,
        reason: reason.into(),
        source: entry.source.clone(),
        lot: entry.lot.as_hyphenated().to_string(),
        actor: entry.actor.clone(),
        create_time: Some(time::wire(entry.create_time)),
        transaction: child(entry.customer, TRANSACTIONS, entry.transaction),
        sequence: entry.sequence,
        debit: entry.debit.name().to_owned(),
        credit: entry.credit.name().to_owned(),
        moved: entry.points,
        hold: entry.hold.map(|hold| child(entry.customer, HOLDS, hold)).unwrap_or_default(),
        reverses: entry.reverses.unwrap_or_default(),
        hash: entry.hash.to_vec().into(),
        rule: entry.rule.map(rule::name).unwrap_or_default(),
        reverses_member: entry.reverses_of.map(|of| name(of).to_string()).unwrap_or_default(),
    }
}

/// The sums over all accounts; `BALANCE_OVERFLOW` when one does not fit into the answer.
pub fn trial_balance(
    balance: &TrialBalance,
    read_time: DateTime<Utc>,
) -> Result<proto::GetTrialBalanceResponse, Error> {
    let fit = |sum: i128| i64::try_from(sum).map_err(|_| Refusal::Overflow);
    let mut accounts = Vec::new();
    let mut difference = 0;
    for position in &balance.positions {
        let (debit, credit) =
            if position.book.is_debit() { (position.balance, 0) } else { (0, position.balance) };
        difference += debit - credit;
        accounts.push(proto::LedgerAccount {
            account: position.book.name().to_owned(),
            debit: fit(debit)?,
            credit: fit(credit)?,
        });
    }
    Ok(proto::GetTrialBalanceResponse {
        accounts,
        difference: fit(difference)?,
        members: balance.members,
        entries: fit(balance.entries)?,
        read_time: Some(time::wire(read_time)),
    })
}

#[cfg(test)]
mod tests;
