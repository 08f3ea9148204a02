//! The ledger's transaction: what every change of points goes through.
//!
//! A [`Batch`] of the coalescer: the requests that arrive while one commit is on its way are read, decided and written
//! together. `load` locks their members and reads what the decisions need, `decide` is the domain's answer to one
//! request after another in the order of their arrival, `write` writes all of it by arrays.

mod preview;
mod rules;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_db::log::{self, NewEvent};
use cqm_db::subjects::Closed;
use cqm_db::{Batch, Conn, Patience, Request, Verdict};
use cqm_proto::loyalty::v1::EarnPointsResponse;
use cqm_rpc::{Call, Clock, Error, Etag, TraceContext};
use prost::Message;
use uuid::Uuid;

use crate::domain::account::{Account, Change, Policy};
use crate::domain::book::Book;
use crate::domain::earning::{Basis, Rules};
use crate::domain::entry::{Cause, Entry, Reason};
use crate::domain::hold::Hold;
use crate::domain::referral::ReferralCode;
use crate::domain::{Event, Refusal};
use crate::error::{TRANSACTION_NOT_FOUND, hold_not_found, member_not_found};
use crate::grpc::convert::hold::{Commit, Place, Release};
use crate::grpc::convert::ledger::{Earn, Redeem};
use crate::grpc::convert::reversal::Reverse;
use crate::grpc::convert::{TRANSACTIONS, child, event, hold, ledger, member, reversal};
use crate::rulebook::RuleBook;
use crate::store::{self, Loaded, Rewarded, Tiers, Wants};

pub use rules::{Earning, Weighed};

/// What is asked of the ledger.
#[derive(Clone, Debug)]
pub enum Command {
    Earn(Earn),
    Redeem(Redeem),
    Hold(Place),
    Commit(Commit),
    Release(Release),
    Reverse(Reverse),
}

impl Command {
    fn customer(&self) -> Uuid {
        match self {
            Self::Earn(command) => command.customer,
            Self::Redeem(command) => command.customer,
            Self::Hold(command) => command.customer,
            Self::Commit(command) => command.customer,
            Self::Release(command) => command.customer,
            Self::Reverse(command) => command.customer,
        }
    }

    fn as_earn(&self) -> Option<&Earn> {
        match self {
            Self::Earn(command) => Some(command),
            _ => None,
        }
    }

    /// Adds what the command needs to what is to be read.
    pub fn wants(&self, wants: &mut Wants) {
        let customer = self.customer();
        wants.customers.insert(customer);
        let mut spends = |points: i64| *wants.spending.entry(customer).or_default() += i128::from(points);
        match self {
            Self::Earn(Earn { basis: Basis::Adjustment { points }, .. }) if *points < 0 => {
                spends(points.saturating_neg());
            }
            Self::Earn(command) => {
                let reason = command.basis.reason();
                if reason.is_once() && !command.source.is_empty() {
                    wants.sources.push((customer, reason, command.source.clone()));
                }
            }
            Self::Redeem(command) => spends(command.points),
            Self::Hold(command) => spends(command.points),
            Self::Commit(command) => wants.holds.push((customer, command.hold)),
            Self::Release(command) => wants.holds.push((customer, command.hold)),
            Self::Reverse(command) => wants.transactions.push((customer, command.transaction)),
        }
    }
}

/// How the ledger decides.
#[derive(Clone, Debug)]
pub struct Posting {
    pub clock: Clock,
    pub rules: Rules,
    pub policy: Policy,
    /// The programmes' rules, beside the base rule.
    pub book: RuleBook,
    pub tiers: Tiers,
}

/// What a batch has read, and what its decisions have made of it.
#[derive(Debug)]
pub struct State {
    loaded: Loaded,
    earning: Earning,
    now: DateTime<Utc>,
    events: Vec<(TraceContext, NewEvent)>,
}

impl Batch for Posting {
    type Command = Command;
    type State = State;
    const NAME: &'static str = "ledger";

    fn about(command: &Command) -> Uuid {
        command.customer()
    }

    async fn load(
        &self,
        conn: &Conn,
        requests: &[&Request<Command>],
        patience: Patience,
    ) -> Result<State, Error> {
        let mut wants = Wants::default();
        requests.iter().for_each(|request| request.command.wants(&mut wants));
        let (rules, now) = (self.book.read(conn).await?, self.clock.now());
        let commands = requests.iter().map(|request| &request.command);
        // In this order: the members are locked before the budgets.
        let (loaded, earning) = futures::join!(
            store::load(conn, &wants, patience, &self.policy, &self.tiers, || self.clock.now()),
            Earning::load(conn, &self.book, rules, commands, &self.rules, now),
        );
        let (mut loaded, earning) = (loaded?, earning?);
        // Time has no caller; what it changed is told in the trace of the first call that met it.
        let trace = requests.first().map_or_else(|| TraceContext::fresh(false), |first| first.call.trace);
        let events = loaded.events.drain(..).map(|event| (trace, event::logged(&event))).collect();
        Ok(State { loaded, earning, now: self.clock.now(), events })
    }

    fn decide(&self, state: &mut State, request: &Request<Command>) -> Verdict {
        let customer = request.command.customer();
        if state.loaded.busy.contains(&customer) {
            return Verdict::Busy;
        }
        let closed = state.loaded.closed.get(&customer).copied();
        let answer = state
            .loaded
            .check_caught_up(customer)
            .and_then(|()| check_subject(customer, closed, &request.command))
            .and_then(|()| self.answer(state, &request.call, &request.command));
        match answer {
            Ok(answer) => Verdict::Done(answer),
            Err(error) => Verdict::Refused(error),
        }
    }

    async fn write(&self, conn: &Conn, state: &State) -> Result<(), Error> {
        let accounts: Vec<&Account> =
            state.loaded.accounts.values().filter(|account| account.is_changed()).collect();
        let (saved, counted, told) = futures::join!(
            store::save(conn, &accounts),
            state.earning.save(conn),
            log::append_all(conn, &state.events),
        );
        if saved.is_err() {
            // It may have been decided by a tier that is gone.
            self.tiers.forget();
        }
        saved.and(counted).and(told)
    }
}

impl Posting {
    /// Decides about one command and encodes its answer.
    fn answer(&self, state: &mut State, call: &Call, command: &Command) -> Result<Vec<u8>, Error> {
        let cause = |reason: Reason, source: &str, request_id: Uuid| Cause {
            actor: call.caller.subject.to_string(),
            request_id,
            reason,
            source: source.to_owned(),
            time: state.now,
        };
        match command {
            Command::Earn(command) => {
                let cause = cause(command.basis.reason(), &command.source, command.request_id);
                Ok(self.earn(state, call, command, &cause)?.1.encode_to_vec())
            }
            Command::Redeem(command) => {
                let cause = cause(Reason::Redemption, &command.source, command.request_id);
                let account = state.account(command.customer)?;
                check_etag(command.etag, account)?;
                let change = account.redeem(command.points, &cause, Uuid::now_v7)?;
                let entries = state.apply(call, command.customer, change);
                Ok(ledger::redeemed(&entries, state.account(command.customer)?).encode_to_vec())
            }
            Command::Hold(command) => {
                let cause = cause(Reason::Hold, &command.source, command.request_id);
                let account = state.account(command.customer)?;
                check_etag(command.etag, account)?;
                let until = cause.time + command.ttl;
                let (id, change) = account.hold(command.points, until, &cause, Uuid::now_v7)?;
                state.apply(call, command.customer, change);
                let (account, placed) = state.hold(command.customer, id)?;
                Ok(hold::placed(placed, account).encode_to_vec())
            }
            Command::Commit(command) => {
                let (account, before) = state.hold(command.customer, command.hold)?;
                let source = if command.source.is_empty() { &before.source } else { &command.source };
                let cause = cause(Reason::Redemption, source, command.request_id);
                let change = account.commit(
                    before,
                    command.points,
                    command.last,
                    &self.policy,
                    &cause,
                    Uuid::now_v7,
                )?;
                let entries = state.apply(call, command.customer, change);
                let (account, after) = state.hold(command.customer, command.hold)?;
                Ok(hold::committed(after, &entries, account).encode_to_vec())
            }
            Command::Release(command) => {
                let (account, before) = state.hold(command.customer, command.hold)?;
                let cause = cause(Reason::Hold, &before.source, command.request_id);
                let change = account.release(before, &self.policy, &cause, Uuid::now_v7)?;
                let entries = state.apply(call, command.customer, change);
                let (account, after) = state.hold(command.customer, command.hold)?;
                Ok(hold::released(after, &entries, account).encode_to_vec())
            }
            Command::Reverse(command) => {
                let cause = cause(Reason::Reversal, &command.source, command.request_id);
                self.reverse(state, call, command, &cause)
            }
        }
    }

    /// Gives points. `None` when the rules were not asked: points are taken, or were given before.
    fn earn(
        &self,
        state: &mut State,
        call: &Call,
        command: &Earn,
        cause: &Cause,
    ) -> Result<(Option<Weighed>, EarnPointsResponse), Error> {
        let customer = command.customer;
        let source = (customer, cause.reason, command.source.clone());
        if let Some(earlier) = state.loaded.rewarded.get(&source) {
            return Ok((None, ledger::earned(Some(earlier), state.account(customer)?)));
        }
        // A customer who is no member becomes one, unless that is all that would happen.
        let opened =
            if state.loaded.accounts.contains_key(&customer) { None } else { Some(state.open(customer)) };
        let account = match &opened {
            Some((account, _)) => account,
            None => state.account(customer)?,
        };
        let (weighed, change) = match command.basis {
            Basis::Adjustment { points } if points < 0 => {
                let points = points.checked_neg().ok_or(Refusal::Overflow)?;
                (None, Some(account.deduct(points, cause, Uuid::now_v7)?))
            }
            _ => {
                let weighed = state.earning.weigh(command, account, &self.rules, cause.time)?;
                let change = match weighed.awards.as_slice() {
                    [] => None,
                    awards => Some(account.earn(awards, &self.policy, cause, Uuid::now_v7)?),
                };
                (Some(weighed), change)
            }
        };
        if let Some(weighed) = &weighed {
            state.earning.take(command, weighed);
        }
        if let Some((account, enrolled)) = opened {
            state.loaded.accounts.insert(customer, account);
            state.tell(call, &enrolled);
        }
        let entries = change.map_or_else(Vec::new, |change| state.apply(call, customer, change));
        let account = state.account(customer)?;
        let taken = entries.first().is_some_and(|first| first.change() < 0);
        if taken {
            return Ok((weighed, ledger::deducted(&entries, account)));
        }
        let given = Rewarded::of(&entries);
        let answer = ledger::earned(given.as_ref(), account);
        if let (true, Some(given)) = (cause.reason.is_once() && !command.source.is_empty(), given) {
            state.loaded.rewarded.insert(source, given);
        }
        Ok((weighed, answer))
    }

    fn reverse(
        &self,
        state: &mut State,
        call: &Call,
        command: &Reverse,
        cause: &Cause,
    ) -> Result<Vec<u8>, Error> {
        let (customer, key) = (command.customer, (command.customer, command.transaction));
        let past = state.loaded.past.get(&key).cloned();
        let mut past = past.ok_or_else(|| {
            Error::not_found(TRANSACTION_NOT_FOUND, child(customer, TRANSACTIONS, command.transaction))
        })?;
        if past.reason == Reason::Reward {
            // The voucher would stay good: it is the voucher that is taken back, and the points with it.
            return Err(Refusal::NotReversible { kind: past.kind }.into());
        }
        let account = state.account(customer)?;
        let change = account.reverse(&past, command.extent, &self.policy, cause, Uuid::now_v7)?;
        let entries = state.apply(call, customer, change);
        // The next request of the batch may be about the same transaction.
        for lot in &mut past.lots {
            for back in entries.iter().filter(|entry| entry.reverses == Some(lot.sequence)) {
                lot.reversed += back.points;
                lot.owed += if back.debit == Book::ClawbackDebt { back.points } else { 0 };
            }
        }
        let answer = reversal::reversed(&past, &entries, state.account(customer)?)?.encode_to_vec();
        state.loaded.past.insert(key, past);
        Ok(answer)
    }
}

impl State {
    /// The account of a customer who becomes a member.
    fn open(&self, customer: Uuid) -> (Account, Vec<Event>) {
        let code = ReferralCode::of(Uuid::new_v4());
        Account::open(customer, code, Arc::clone(&self.loaded.ladder), self.now)
    }

    fn account(&self, customer: Uuid) -> Result<&Account, Error> {
        self.loaded.accounts.get(&customer).ok_or_else(|| member_not_found(member::name(customer)))
    }

    fn hold(&self, customer: Uuid, id: Uuid) -> Result<(&Account, &Hold), Error> {
        let account = self.loaded.accounts.get(&customer);
        let found = account.and_then(|account| Some((account, account.find_hold(id)?)));
        found.ok_or_else(|| hold_not_found(customer, id))
    }

    fn apply(&mut self, call: &Call, customer: Uuid, change: Change) -> Vec<Entry> {
        let account = self.loaded.accounts.get_mut(&customer).expect("decided over this account");
        let (entries, events) = account.apply(change);
        self.tell(call, &events);
        entries
    }

    fn tell(&mut self, call: &Call, events: &[Event]) {
        self.events.extend(events.iter().map(|event| (call.trace, event::logged(event))));
    }
}

/// Who is to be forgotten uses up what they have and gets nothing more; of who is forgotten nothing changes any more.
fn check_subject(customer: Uuid, closed: Option<Closed>, command: &Command) -> Result<(), Error> {
    match (closed, command) {
        (None, _) => Ok(()),
        (Some(Closed::Restricted), command) if !matches!(command, Command::Earn(_)) => Ok(()),
        (Some(closed), _) => Err(closed.refuse(customer)),
    }
}

/// Whoever read the account before time was written down has read what it is now.
pub(crate) fn check_etag(etag: Option<Etag>, account: &Account) -> Result<(), Error> {
    let name = member::name(account.member.customer).to_string();
    let [now, before] = account.versions();
    Etag::check(etag, now, &name).or_else(|_| Etag::check(etag, before, &name))
}
