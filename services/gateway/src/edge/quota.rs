//! How much a caller may ask for: a token bucket for each caller and class of method, shared by all replicas in Redis.
//!
//! A call does not wait for Redis: a process takes tokens for a tenth of a second at once and spends them itself, and it
//! remembers a refusal until the bucket has something again. When Redis is slow or gone each process counts for itself.

mod bucket;
mod buckets;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cqm_proto::policy::Class;
use cqm_rpc::{BoxError, Caller, Error, Refusal, Role, reason};
use cqm_runtime::server::Peer;
use http::request::Parts;
use moka::sync::Cache;

use super::metrics::Metrics;
use crate::config::{QuotaConfig, Rate};
use bucket::Bucket;
use buckets::{Buckets, Grant};

/// For whom a proxy calls.
pub(super) const FORWARDED_FOR: &str = "x-forwarded-for";
/// Callers whose tokens are kept in the process. One that is forgotten only takes new ones.
const MAX_ACCOUNTS: u64 = 100_000;
const IDLE: Duration = Duration::from_secs(60);
/// What was taken and not spent by then is lost: it may long have come back in the shared bucket.
const LEASE_LIFE: Duration = Duration::from_secs(1);
/// The longest that a refusal is remembered without asking again.
const REMEMBER: Duration = Duration::from_secs(1);

/// Clones share it; one for the process.
#[derive(Clone)]
pub(super) struct Quota(Arc<Inner>);

struct Inner {
    config: QuotaConfig,
    /// Absent when every process counts for itself.
    buckets: Option<Buckets>,
    accounts: Cache<(Arc<str>, Class), Arc<Account>>,
    metrics: Metrics,
}

/// What one caller may still do in one class, in this process.
struct Account {
    rate: Rate,
    state: Mutex<State>,
    /// Held while tokens are fetched: who comes meanwhile waits for the same ones.
    fetching: tokio::sync::Mutex<()>,
}

struct State {
    leased: u32,
    lease_ends: Instant,
    refused_until: Instant,
    /// For when there is nobody to share with.
    own: Bucket,
}

enum Spent {
    Yes,
    No(Duration),
    /// The process has nothing left and must ask.
    Ask,
}

impl Quota {
    /// Connects to Redis in the background.
    pub fn new(config: QuotaConfig, metrics: Metrics) -> Result<Self, BoxError> {
        let buckets = match &config.redis_url {
            Some(url) => Some(Buckets::open(url, &config.redis_tls, config.budget, metrics.clone())?),
            None => None,
        };
        let accounts = Cache::builder().max_capacity(MAX_ACCOUNTS).time_to_idle(IDLE).build();
        Ok(Self(Arc::new(Inner { config, buckets, accounts, metrics })))
    }

    /// Whose quota a call takes from: its caller's, or that of the address it comes from where the caller has no name.
    pub fn account(&self, caller: &Caller, parts: &Parts) -> Arc<str> {
        if !caller.has(Role::Customer) {
            return Arc::clone(&caller.subject);
        }
        match origin(parts, self.0.config.proxies) {
            Some(origin) => format!("{} {}", caller.subject, network(origin)).into(),
            None => Arc::clone(&caller.subject),
        }
    }

    /// Spends a token, or says when there will be one.
    pub async fn spend(&self, caller: &Caller, account: &Arc<str>, class: Class) -> Result<(), Error> {
        let key = account;
        let account = self.kept(caller, key, class);
        let wait = match account.spend() {
            Spent::Yes => return Ok(()),
            Spent::No(wait) => wait,
            Spent::Ask => match self.fetch(&account, key, class).await {
                Spent::No(wait) => wait,
                Spent::Yes | Spent::Ask => return Ok(()),
            },
        };
        self.0.metrics.quota("refused");
        let refusal = Refusal::new(reason::QUOTA)
            .fact("subject", &caller.subject)
            .fact("class", class.name())
            .fact("per_second", account.rate.per_second);
        Err(Error::Exhausted { refusal, retry_after: Some(wait) })
    }

    fn kept(&self, caller: &Caller, account: &Arc<str>, class: Class) -> Arc<Account> {
        self.0.accounts.get_with((Arc::clone(account), class), || {
            Arc::new(Account::new(self.0.config.rate(&caller.subject, class), Instant::now()))
        })
    }

    async fn fetch(&self, account: &Account, key: &str, class: Class) -> Spent {
        let Some(buckets) = &self.0.buckets else {
            return account.spend_own();
        };
        let _turn = account.fetching.lock().await;
        match account.spend() {
            Spent::Ask => {}
            spent => return spent,
        }
        let lease = account.rate.lease(self.0.config.lease);
        match buckets.take(key, class, account.rate, lease).await {
            Some(grant) => account.granted(grant),
            None => account.spend_own(),
        }
    }
}

/// The address that a call comes from, by the word of the outermost proxy that is ours.
fn origin(parts: &Parts, proxies: usize) -> Option<IpAddr> {
    let Some(behind) = proxies.checked_sub(1) else {
        return parts.extensions.get::<Peer>().map(|peer| peer.0);
    };
    // Each adds who called it; what stands further left was there before and may say anything.
    let texts = parts.headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let said: Vec<&str> = texts.flat_map(|text| text.split(',')).collect();
    let address = said.iter().rev().nth(behind)?.trim();
    let plain = address.parse::<IpAddr>().or_else(|_| address.parse::<SocketAddr>().map(|with| with.ip()));
    plain.ok().map(|address| address.to_canonical())
}

/// Who has one address of version 6 has, as a rule, a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Rate {
    /// What is taken at once: enough for a while, never more than half of what lies ready, so that one replica does not
    /// leave the others nothing.
    fn lease(self, time: Duration) -> u32 {
        let count = f64::from(self.per_second) * time.as_secs_f64();
        (count as u32).clamp(1, (self.burst / 2).max(1))
    }
}

impl Account {
    fn new(rate: Rate, now: Instant) -> Self {
        let state = State { leased: 0, lease_ends: now, refused_until: now, own: Bucket::full(rate, now) };
        Self { rate, state: Mutex::new(state), fetching: tokio::sync::Mutex::default() }
    }

    fn spend(&self) -> Spent {
        let now = Instant::now();
        let mut state = self.state();
        if state.leased > 0 && now < state.lease_ends {
            state.leased -= 1;
            return Spent::Yes;
        }
        match state.refused_until.checked_duration_since(now) {
            Some(wait) if !wait.is_zero() => Spent::No(wait),
            _ => Spent::Ask,
        }
    }

    fn spend_own(&self) -> Spent {
        match self.state().own.take(self.rate, Instant::now()) {
            Ok(()) => Spent::Yes,
            Err(wait) => Spent::No(wait),
        }
    }

    /// Keeps what the shared bucket gave, and spends one of it.
    fn granted(&self, grant: Grant) -> Spent {
        let now = Instant::now();
        let mut state = self.state();
        match grant {
            Grant::Tokens(count) => {
                state.leased = count.saturating_sub(1);
                state.lease_ends = now + LEASE_LIFE;
                Spent::Yes
            }
            Grant::Wait(wait) => {
                state.refused_until = now + wait.min(REMEMBER);
                Spent::No(wait)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota").field("shared", &self.0.buckets.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_the_connection_or_the_one_that_our_outermost_proxy_says() {
        let parts = |lines: &[&str]| {
            let mut request = http::Request::new(());
            request.extensions_mut().insert(Peer([10, 0, 0, 9].into()));
            for line in lines {
                request.headers_mut().append(FORWARDED_FOR, line.parse().unwrap());
            }
            request.into_parts().0
        };
        for (proxies, lines, expected) in [
            (0, &["203.0.113.7"][..], Some("10.0.0.9")),
            (1, &["203.0.113.7"], Some("203.0.113.7")),
            (1, &["1.1.1.1, 203.0.113.7"], Some("203.0.113.7")),
            (2, &["1.1.1.1, 203.0.113.7,10.0.0.3"], Some("203.0.113.7")),
            (2, &["1.1.1.1", "203.0.113.7:4711", "10.0.0.3"], Some("203.0.113.7")),
            (1, &["1.1.1.1, [2001:db8:1:2:3::4]:1"], Some("2001:db8:1:2::")),
            (1, &["::ffff:203.0.113.7"], Some("203.0.113.7")),
            (1, &[], None),
            (2, &["203.0.113.7"], None),
            (1, &["1.1.1.1, unknown"], None),
        ] {
            let found = origin(&parts(lines), proxies).map(network);
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{proxies} {lines:?}");
        }
    }

    #[test]
    fn a_lease_is_a_tenth_of_a_second_and_leaves_something() {
        let lease = |per_second, burst| Rate { per_second, burst }.lease(Duration::from_millis(100));
        assert_eq!(lease(2000, 4000), 200);
        assert_eq!(lease(2000, 100), 50);
        assert_eq!(lease(2, 10), 1);
        assert_eq!(lease(1, 1), 1);
    }

    #[test]
    fn what_was_granted_is_spent_without_asking_and_a_refusal_is_remembered() {
        let account = Account::new(Rate { per_second: 10, burst: 10 }, Instant::now());
        assert!(matches!(account.spend(), Spent::Ask));
        assert!(matches!(account.granted(Grant::Tokens(3)), Spent::Yes));
        assert!(matches!(account.spend(), Spent::Yes));
        assert!(matches!(account.spend(), Spent::Yes));
        assert!(matches!(account.spend(), Spent::Ask));
        assert!(matches!(account.granted(Grant::Wait(Duration::from_secs(100))), Spent::No(_)));
        let Spent::No(wait) = account.spend() else { panic!("it is refused without asking") };
        assert!(wait <= REMEMBER);
    }
}
