//! Everything that a transaction of the ledger needs, read and locked at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use cqm_db::subjects::{self, Closed};
use cqm_db::{Conn, Patience};
use cqm_rpc::{Error, reason};
use futures::future::join5;
use futures::join;
use uuid::Uuid;

use super::due::load_due;
use super::entry::find_past;
use super::hold::find_holds;
use super::ladder::Tiers;
use super::lot::{find_lots, spendable};
use super::member::{known_members, lock_members};
use super::source::{RewardKey, Rewarded, find_rewarded};
use crate::domain::Event;
use crate::domain::account::{Account, Past, Policy};
use crate::domain::entry::Reason;
use crate::domain::member::Member;
use crate::domain::tier::Ladder;

/// How many lots of a customer are read at first for a spend. Most spends take one or two.
const FIRST_LOTS: i64 = 16;

/// What the requests of a transaction are about.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    pub customers: BTreeSet<Uuid>,
    /// How many points may be taken from each.
    pub spending: BTreeMap<Uuid, i128>,
    pub holds: Vec<(Uuid, Uuid)>,
    pub sources: Vec<(Uuid, Reason, String)>,
    pub transactions: Vec<(Uuid, Uuid)>,
}

/// What there was of it, time having been written down.
#[derive(Debug, Default)]
pub struct Loaded {
    pub accounts: HashMap<Uuid, Account>,
    /// Members whom somebody else has locked.
    pub busy: HashSet<Uuid>,
    /// Customers who are to be forgotten, are, or are known under another name.
    pub closed: HashMap<Uuid, Closed>,
    /// Members of whom more is due than one transaction writes down.
    pub behind: HashSet<Uuid>,
    pub rewarded: HashMap<RewardKey, Rewarded>,
    pub past: HashMap<(Uuid, Uuid), Past>,
    /// For those who become members.
    pub ladder: Arc<Ladder>,
    /// What time has changed.
    pub events: Vec<Event>,
}

/// Reads and locks. The statements that need nothing of each other travel together: the lock first, so that what is
/// read behind it is what whoever had it before has left.
pub async fn load(
    conn: &Conn,
    wants: &Wants,
    patience: Patience,
    policy: &Policy,
    tiers: &Tiers,
    clock: impl Fn() -> DateTime<Utc>,
) -> Result<Loaded, Error> {
    let customers: Vec<Uuid> = wants.customers.iter().copied().collect();
    let spending: Vec<Uuid> = wants.spending.keys().copied().collect();
    let sources: Vec<(Uuid, Reason, &str)> = wants
        .sources
        .iter()
        .map(|(customer, reason, source)| (*customer, *reason, source.as_str()))
        .collect();
    let lots = async {
        if spending.is_empty() { Ok(Vec::new()) } else { spendable(conn, &spending, FIRST_LOTS).await }
    };
    let rest = join5(
        lock_members(conn, &customers, patience),
        lots,
        find_rewarded(conn, &sources),
        find_holds(conn, &wants.holds),
        find_past(conn, &wants.transactions),
    );
    let ((members, lots, rewarded, holds, past), closed) = join!(rest, subjects::among(conn, &customers));
    // Whether the lock was to be had comes first: the statements behind one that failed only say that it did.
    let members = members?;
    let mut loaded = Loaded { closed: closed?, ..Loaded::default() };
    loaded.ladder = tiers.knowing(conn, members.iter().map(|member| member.standing.tier)).await?;
    loaded.take_members(members);
    loaded.find_missing(conn, &customers, patience).await?;
    loaded.rewarded = rewarded?;
    loaded.past = past?.into_iter().map(|(customer, past)| ((customer, past.transaction), past)).collect();
    let holds = holds?;

    // The lots that holds and transactions of the past are about.
    let pinned = holds.iter().flat_map(|(customer, hold)| hold.lots.iter().map(|pin| (*customer, pin.lot)));
    let touched =
        loaded.past.iter().flat_map(|((customer, _), past)| past.lots.iter().map(|lot| (*customer, lot.lot)));
    let named: Vec<(Uuid, Uuid)> = pinned.chain(touched).collect();
    for row in lots?.into_iter().chain(find_lots(conn, &named).await?) {
        if let Some(account) = loaded.accounts.get_mut(&row.customer_id) {
            account.load_lot(row.into_domain());
        }
    }
    for (customer, hold) in holds {
        if let Some(account) = loaded.accounts.get_mut(&customer) {
            account.load_hold(hold);
        }
    }

    // After the lock: of two changes of a member, the one that is written later has the later time.
    loaded.settle(conn, policy, clock()).await?;
    loaded.load_more(conn, wants).await?;
    Ok(loaded)
}

impl Loaded {
    fn take_members(&mut self, members: Vec<Member>) {
        self.accounts = members
            .into_iter()
            .map(|member| (member.customer, Account::stored(member).on(Arc::clone(&self.ladder))))
            .collect();
    }

    /// Looks why there are customers without an account. Whoever is no member has no row whose lock would keep a merge or
    /// an erasure waiting until they may have become one: it waits for another lock of theirs.
    async fn find_missing(
        &mut self,
        conn: &Conn,
        customers: &[Uuid],
        patience: Patience,
    ) -> Result<(), Error> {
        let missing: Vec<Uuid> =
            customers.iter().copied().filter(|id| !self.accounts.contains_key(id)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        // In this order: what is read behind the lock is what whoever had it before has left.
        let (shared, known, closed) = join!(
            subjects::share_all(conn, &missing, patience),
            known_members(conn, &missing),
            subjects::among(conn, &missing),
        );
        let (shared, known) = (shared?, known?);
        self.closed.extend(closed?);
        self.busy = missing.into_iter().filter(|id| known.contains(id) || !shared.contains(id)).collect();
        Ok(())
    }

    /// Refuses what is about somebody who is forgotten, who is known under another name, or of whom there is more to
    /// write down than one transaction does.
    pub fn check(&self, customer: Uuid) -> Result<(), Error> {
        match self.closed.get(&customer) {
            None | Some(Closed::Restricted) => self.check_caught_up(customer),
            Some(closed) => Err(closed.refuse(customer)),
        }
    }

    /// Refuses while not all of the past is written down.
    pub fn check_caught_up(&self, customer: Uuid) -> Result<(), Error> {
        if !self.behind.contains(&customer) {
            return Ok(());
        }
        let source = "more has come due of the member than one transaction writes down";
        Err(Error::unavailable(reason::OVERLOADED, source))
    }

    /// Writes down what time has changed, for those whom it has caught up with.
    async fn settle(&mut self, conn: &Conn, policy: &Policy, now: DateTime<Utc>) -> Result<(), Error> {
        let mut due: Vec<&mut Account> =
            self.accounts.values_mut().filter(|account| account.is_due(now)).collect();
        let found = load_due(conn, &mut due, policy.notice, now).await?;
        for account in due {
            let customer = account.member.customer;
            let due = &found[&customer];
            if due.more {
                self.behind.insert(customer);
            }
            let change = account.settle(due, policy, now, Uuid::now_v7)?;
            let (_, events) = account.apply_time(change);
            self.events.extend(events);
        }
        Ok(())
    }

    /// Reads more lots for those whose first ones do not suffice, until they do or there are no more.
    async fn load_more(&mut self, conn: &Conn, wants: &Wants) -> Result<(), Error> {
        let mut most = FIRST_LOTS;
        loop {
            let short: Vec<Uuid> = wants
                .spending
                .iter()
                .filter(|(customer, points)| {
                    self.accounts.get(customer).is_some_and(|account| {
                        let available = i128::from(account.balance(crate::domain::book::Book::Available));
                        account.loaded_points() < available.min(**points)
                    })
                })
                .map(|(customer, _)| *customer)
                .collect();
            // Nobody has more lots than fit into memory once: each round reads sixteen times as many.
            if short.is_empty() || most > 1 << 20 {
                return Ok(());
            }
            most *= 16;
            for row in spendable(conn, &short, most).await? {
                if let Some(account) = self.accounts.get_mut(&row.customer_id) {
                    account.load_lot(row.into_domain());
                }
            }
        }
    }
}

/// Reads what [`load`] reads, without a lock and without writing anything down: for what has no effect.
pub async fn peek(
    conn: &mut Conn,
    wants: &Wants,
    policy: &Policy,
    tiers: &Tiers,
    now: DateTime<Utc>,
) -> Result<Loaded, Error> {
    let customers: Vec<Uuid> = wants.customers.iter().copied().collect();
    let mut loaded = Loaded {
        ladder: tiers.knowing(conn, std::iter::empty()).await?,
        closed: subjects::among(conn, &customers).await?,
        ..Loaded::default()
    };
    for customer in &wants.customers {
        if let Some(account) = find_account(conn, *customer, policy, tiers, now).await? {
            loaded.accounts.insert(*customer, account);
        }
    }
    let sources: Vec<(Uuid, Reason, &str)> = wants
        .sources
        .iter()
        .map(|(customer, reason, source)| (*customer, *reason, source.as_str()))
        .collect();
    loaded.rewarded = find_rewarded(conn, &sources).await?;
    loaded.load_more(conn, wants).await?;
    Ok(loaded)
}

/// Reads a member with what they have, time having passed, without a lock and without writing anything down.
pub async fn find_account(
    conn: &mut Conn,
    customer: Uuid,
    policy: &Policy,
    tiers: &Tiers,
    now: DateTime<Utc>,
) -> Result<Option<Account>, Error> {
    let member = super::find_member(conn, customer).await?;
    Ok(settled(conn, member.into_iter().collect(), policy, tiers, now).await?.pop())
}

/// Members as they are once time has been written down, without writing anything.
pub async fn settled(
    conn: &Conn,
    members: Vec<Member>,
    policy: &Policy,
    tiers: &Tiers,
    now: DateTime<Utc>,
) -> Result<Vec<Account>, Error> {
    let ladder = tiers.knowing(conn, members.iter().map(|member| member.standing.tier)).await?;
    let mut accounts: Vec<Account> =
        members.into_iter().map(|member| Account::stored(member).on(Arc::clone(&ladder))).collect();
    let mut due: Vec<&mut Account> = accounts.iter_mut().filter(|account| account.is_due(now)).collect();
    let found = load_due(conn, &mut due, policy.notice, now).await?;
    for account in due {
        let (version, changed_at) = (account.member.version, account.member.update_time);
        let change = account.settle(&found[&account.member.customer], policy, now, Uuid::now_v7)?;
        account.apply_time(change);
        // What is stored has these; whoever writes with the version meets the same passing of time.
        (account.member.version, account.member.update_time) = (version, changed_at);
    }
    Ok(accounts)
}
