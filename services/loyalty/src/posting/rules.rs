//! What a batch needs to hold its earns against the programmes' rules.
//!
//! Everything is known before the first member is read: what happened stands in the requests, the rules in the process.
//! So what is locked of the budgets travels with the members' locks, behind them, and costs no round trip; without rules
//! there is nothing to read at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_db::Conn;
use cqm_rpc::{Error, reason};
use uuid::Uuid;

use super::Command;
use crate::domain::Refusal;
use crate::domain::account::{Account, Award};
use crate::domain::earning::Rules as BaseRules;
use crate::domain::entry::Reason;
use crate::domain::rules::{self, Facts, InForce, Pot, Trigger, Usage, Verdict};
use crate::grpc::convert::ledger::Earn;
use crate::rulebook::RuleBook;
use crate::store::{self, CounterKey, Need, SLICES};

/// What the earns of a transaction are held against.
#[derive(Debug)]
pub struct Earning {
    /// Before the locks: what the budgets were locked for is what is decided.
    now: DateTime<Utc>,
    rules: Arc<[InForce]>,
    usage: Usage,
    /// Customers whom a purchase has given points.
    buyers: HashSet<Uuid>,
}

/// What one earn comes to.
#[derive(Clone, Debug, Default)]
pub struct Weighed {
    /// What the base rule gives.
    pub base: i64,
    /// What each rule in force says, in their order.
    pub verdicts: Vec<Verdict>,
    /// What is given: first by the base rule.
    pub awards: Vec<Award>,
}

/// What the earns of a transaction may need.
#[derive(Debug, Default)]
struct Needs {
    counters: BTreeSet<CounterKey>,
    budgets: BTreeMap<Uuid, Need>,
    buyers: BTreeSet<Uuid>,
}

impl Needs {
    fn of(rules: &[InForce], earns: &[&Earn], base: &BaseRules, now: DateTime<Utc>) -> Self {
        let mut needs = Self::default();
        for earn in earns {
            // One that does not fit is refused later.
            let points = earn.basis.points(base).unwrap_or(0);
            let facts = facts(earn, None, false);
            for in_force in rules {
                if let Some(points) = in_force.may_give(&facts, points, now) {
                    needs.add(in_force, earn.customer, points);
                }
            }
        }
        needs
    }

    fn add(&mut self, in_force: &InForce, customer: Uuid, points: i64) {
        let rule = &in_force.rule;
        for limit in [rule.cap, rule.velocity].into_iter().flatten() {
            self.counters.insert((customer, rule.id, limit.period.name()));
        }
        for budget in in_force.budgets() {
            let need = self.budgets.entry(budget).or_insert(Need { budget, points: 0, least: points });
            need.points = need.points.saturating_add(points);
            need.least = need.least.min(points);
        }
        if rule.trigger == Trigger::FirstPurchase {
            self.buyers.insert(customer);
        }
    }
}

impl Earning {
    /// Reads and locks what a batch needs. To be polled behind the members' locks.
    pub async fn load(
        conn: &Conn,
        book: &RuleBook,
        rules: Arc<[InForce]>,
        commands: impl Iterator<Item = &Command>,
        base: &BaseRules,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let earns: Vec<&Earn> = commands.filter_map(Command::as_earn).collect();
        let needs = Needs::of(&rules, &earns, base, now);
        let (low, enough): (Vec<Need>, Vec<Need>) =
            needs.budgets.values().copied().partition(|need| book.is_low(need.budget));
        let (all, some, counters, buyers) = futures::join!(
            // Those that are waited for come first: who waits has none of the others.
            store::lock_budgets(conn, &low),
            store::lock_slices(conn, &enough, book.next_turn()),
            store::find_counters(conn, &needs.counters),
            store::find_buyers(conn, &needs.buyers),
        );
        let (mut pots, some) = (all?, some?);
        for need in &low {
            let left = pots.get(&need.budget).map_or(0, Pot::left);
            book.set_low(need.budget, left / i64::from(SLICES) < need.points);
        }
        let short: Vec<&Need> =
            enough.iter().filter(|need| some.get(&need.budget).map_or(0, Pot::left) < need.points).collect();
        if !short.is_empty() {
            // Others have the rest, or there is none. To wait for them with slices in hand could be to wait for each
            // other, so everything is given back, and the transaction begins again.
            short.iter().for_each(|need| book.set_low(need.budget, true));
            return Err(Error::Conflict { reason: reason::TRANSACTION_CONFLICT, source: None });
        }
        pots.extend(some);
        Ok(Self { now, rules, usage: Usage::of(counters?, pots), buyers: buyers? })
    }

    /// Reads what one earn needs, without a lock: for what has no effect.
    pub async fn peek(
        conn: &Conn,
        rules: Arc<[InForce]>,
        earn: &Earn,
        base: &BaseRules,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let needs = Needs::of(&rules, &[earn], base, now);
        // Of all budgets, those too that nothing is needed of.
        let budgets: BTreeSet<Uuid> = rules.iter().flat_map(InForce::budgets).collect();
        let (pots, counters, buyers) = futures::join!(
            store::find_budgets(conn, &budgets),
            store::find_counters(conn, &needs.counters),
            store::find_buyers(conn, &needs.buyers),
        );
        Ok(Self { now, rules, usage: Usage::of(counters?, pots?), buyers: buyers? })
    }

    /// What an earn comes to. Changes nothing.
    pub fn weigh(
        &self,
        earn: &Earn,
        account: &Account,
        base: &BaseRules,
        now: DateTime<Utc>,
    ) -> Result<Weighed, Refusal> {
        let bought_before = self.buyers.contains(&earn.customer);
        let facts = facts(earn, account.member.standing.tier, bought_before);
        let given = earn.basis.award(base, now)?;
        let points = given.map_or(0, |award| award.points);
        let verdicts = rules::evaluate(&self.rules, &facts, points, &self.usage, self.now)?;
        let mut awards: Vec<Award> = given.into_iter().collect();
        for (in_force, verdict) in self.rules.iter().zip(&verdicts) {
            if let Verdict::Applied { points } = verdict {
                awards.push(in_force.award(*points, &earn.basis, base, now));
            }
        }
        Ok(Weighed { base: points, verdicts, awards })
    }

    /// Notes that it was given.
    pub fn take(&mut self, earn: &Earn, weighed: &Weighed) {
        for (in_force, verdict) in self.rules.iter().zip(&weighed.verdicts) {
            if let Verdict::Applied { points } = verdict {
                self.usage.take(in_force, earn.customer, *points, self.now);
            }
        }
        let bought = earn.basis.reason() == Reason::Purchase && !earn.source.is_empty();
        if bought && !weighed.awards.is_empty() {
            self.buyers.insert(earn.customer);
        }
    }

    /// Writes what was given of budgets and to members.
    pub async fn save(&self, conn: &Conn) -> Result<(), Error> {
        let counted = self.usage.counted().map(|(key, counter)| (*key, *counter)).collect::<Vec<_>>();
        let taken = self.usage.taken().map(|(budget, slice)| (budget, *slice)).collect::<Vec<_>>();
        let (counters, slices) =
            futures::join!(store::save_counters(conn, &counted), store::save_slices(conn, &taken));
        counters.and(slices)
    }

    pub fn rules(&self) -> &[InForce] {
        &self.rules
    }

    /// What is left of the budget of a rule or a programme that has one.
    pub fn left(&self, budget: Uuid) -> i64 {
        self.usage.left(budget)
    }
}

fn facts(earn: &Earn, tier: Option<Uuid>, bought_before: bool) -> Facts {
    Facts {
        customer: earn.customer,
        basis: earn.basis,
        sourced: !earn.source.is_empty(),
        channel: earn.context.channel.clone(),
        products: earn.context.products.clone(),
        segments: earn.context.segments.clone(),
        tier,
        bought_before,
    }
}
