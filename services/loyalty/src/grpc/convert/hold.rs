//! Holds.

use chrono::{DateTime, TimeDelta, Utc};
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Error, Etag, PageRequest, Violations, time};
use uuid::Uuid;

use super::ledger::{account, entries};
use super::{HOLDS, child, parse_child, source};
use crate::domain::account::Account;
use crate::domain::entry::Entry;
use crate::domain::hold::{Hold, State};

/// How long points are held when nobody says: as long as a checkout takes.
const TTL: TimeDelta = TimeDelta::minutes(15);
const SHORTEST: TimeDelta = TimeDelta::seconds(1);
const LONGEST: TimeDelta = TimeDelta::days(90);

/// Points are to be set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub customer: Uuid,
    pub points: i64,
    pub ttl: TimeDelta,
    pub source: String,
    pub request_id: Uuid,
    pub etag: Option<Etag>,
}

impl Place {
    pub fn parse(message: &proto::HoldPointsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        if message.points < 1 {
            violations.range("points", "1 or more");
        }
        let ttl = message.ttl.as_ref().map_or(Some(TTL), |ttl| {
            let nanos = u32::try_from(ttl.nanos).ok()?;
            TimeDelta::new(ttl.seconds, nanos).filter(|ttl| (SHORTEST..=LONGEST).contains(ttl))
        });
        if ttl.is_none() {
            violations.range("ttl", "1 s to 90 days");
        }
        let source = source(&message.source, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        let etag = Etag::parse("etag", &message.etag, &mut violations);
        violations.finish()?;
        Ok(Self {
            customer: customer.expect("no violations, so there is a customer"),
            points: message.points,
            ttl: ttl.expect("no violations, so there is a time"),
            source,
            request_id: request_id.expect("no violations, so there is a request id"),
            etag,
        })
    }
}

/// Points of a hold are to be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub customer: Uuid,
    pub hold: Uuid,
    /// `None`: all that is held.
    pub points: Option<i64>,
    pub last: bool,
    pub source: String,
    pub request_id: Uuid,
}

impl Commit {
    pub fn parse(message: &proto::CommitHoldRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = parse_child(HOLDS, "name", &message.name, &mut violations);
        if message.points < 0 {
            violations.range("points", "0 or more");
        }
        let source = source(&message.source, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        violations.finish()?;
        let (customer, hold) = name.expect("no violations, so there is a name");
        Ok(Self {
            customer,
            hold,
            points: Some(message.points).filter(|points| *points > 0),
            last: message.r#final,
            source,
            request_id: request_id.expect("no violations, so there is a request id"),
        })
    }
}

/// A hold is to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub customer: Uuid,
    pub hold: Uuid,
    pub request_id: Uuid,
}

impl Release {
    pub fn parse(message: &proto::ReleaseHoldRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let name = parse_child(HOLDS, "name", &message.name, &mut violations);
        let request_id = violations.request_id(&message.request_id);
        violations.finish()?;
        let (customer, hold) = name.expect("no violations, so there is a name");
        let request_id = request_id.expect("no violations, so there is a request id");
        Ok(Self { customer, hold, request_id })
    }
}

/// Reads which hold is asked for: whose, and its id.
pub fn get(message: &proto::GetHoldRequest) -> Result<(Uuid, Uuid), Error> {
    let mut violations = Violations::default();
    let name = parse_child(HOLDS, "name", &message.name, &mut violations);
    violations.finish()?;
    Ok(name.expect("no violations, so there is a name"))
}

/// A page of holds is asked for.
#[derive(Clone, Debug)]
pub struct List {
    pub customer: Uuid,
    /// By time, the newest first.
    pub page: PageRequest<(DateTime<Utc>, Uuid)>,
}

impl List {
    pub fn parse(message: &proto::ListHoldsRequest) -> Result<Self, Error> {
        let mut violations = Violations::default();
        let customer = super::customer(&message.customer, &mut violations);
        let query = ["holds", &message.customer];
        let page = PageRequest::parse(message.page_size, &message.page_token, &query, &mut violations);
        violations.finish()?;
        Ok(Self { customer: customer.expect("no violations, so there is a customer"), page })
    }

    pub fn answer(&self, holds: Vec<Hold>) -> proto::ListHoldsResponse {
        let page = self.page.page(holds, |hold| (hold.create_time, hold.id));
        proto::ListHoldsResponse {
            holds: page.items.iter().map(|item| hold(self.customer, item)).collect(),
            next_page_token: page.next_page_token,
        }
    }
}

pub fn hold_name(customer: Uuid, id: Uuid) -> String {
    child(customer, HOLDS, id)
}

pub fn hold(customer: Uuid, hold: &Hold) -> proto::Hold {
    let state = match hold.state {
        State::Open => proto::hold::State::Open,
        State::Committed => proto::hold::State::Committed,
        State::Released => proto::hold::State::Released,
        State::Expired => proto::hold::State::Expired,
    };
    proto::Hold {
        name: hold_name(customer, hold.id),
        state: state.into(),
        points: hold.points,
        committed: hold.committed,
        released: hold.released,
        source: hold.source.clone(),
        expire_time: Some(time::wire(hold.expires_at)),
        create_time: Some(time::wire(hold.create_time)),
        update_time: Some(time::wire(hold.update_time)),
    }
}

pub fn placed(placed: &Hold, of: &Account) -> proto::HoldPointsResponse {
    proto::HoldPointsResponse { hold: Some(hold(of.member.customer, placed)), account: Some(account(of)) }
}

pub fn committed(committed: &Hold, made: &[Entry], of: &Account) -> proto::CommitHoldResponse {
    proto::CommitHoldResponse {
        hold: Some(hold(of.member.customer, committed)),
        entries: entries(made),
        account: Some(account(of)),
    }
}

pub fn released(released: &Hold, made: &[Entry], of: &Account) -> proto::ReleaseHoldResponse {
    proto::ReleaseHoldResponse {
        hold: Some(hold(of.member.customer, released)),
        entries: entries(made),
        account: Some(account(of)),
    }
}
