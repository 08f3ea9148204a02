//! How many calls are at work in the whole process, and who gets the last places. tower's limits count per connection,
//! which bounds nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cqm_proto::gateway::v1::coordinator_service_server::SERVICE_NAME as COORDINATOR_SERVICE;
use cqm_proto::policy::{Class, MethodPolicy};
use cqm_rpc::{Caller, Error, Role, reason};

use super::ServerConfig;

/// Of all places, percent, up to which reads and writes are let in: the rest is the coordinator's.
const CALLS_SHARE: usize = 90;

/// Whose calls are refused first when places run out. Health is not asked: it stands outside of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Comes back by itself and holds its place long.
    Bulk,
    /// Somebody waits for the answer.
    Call,
    /// What happened, told to the others: shed, it would only come again, and everything behind it would wait. And who
    /// looks after it: an overload is when they are needed.
    Coordinator,
}

impl Priority {
    pub fn of(policy: &MethodPolicy, caller: &Caller) -> Self {
        let (service, _) = policy.path.trim_start_matches('/').split_once('/').unwrap_or_default();
        if caller.has(Role::Coordinator) || service == COORDINATOR_SERVICE {
            return Self::Coordinator;
        }
        match policy.class() {
            Class::Bulk => Self::Bulk,
            Class::Read | Class::Write => Self::Call,
        }
    }
}

/// The places of the process, shared by its shards.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    taken: AtomicUsize,
    /// By priority.
    limits: [usize; 3],
    per_caller: usize,
    callers: Mutex<HashMap<Arc<str>, usize>>,
}

/// A call's place. Held as long as the call works, which for a mutation may be longer than its caller waits.
pub(super) type Place = Arc<Taken>;

/// Gives the place back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    places: Places,
    caller: Option<Arc<str>>,
}

impl Places {
    pub fn new(config: &ServerConfig) -> Self {
        let all = config.max_in_flight;
        // Nobody is locked out of a process with few places.
        let share = |percent: usize| (all.saturating_mul(percent) / 100).max(1);
        let limits = [share(config.bulk_share_percent.into()), share(CALLS_SHARE), all];
        Self(Arc::new(Inner {
            taken: AtomicUsize::new(0),
            limits,
            per_caller: config.max_in_flight_per_caller,
            callers: Mutex::default(),
        }))
    }

    /// A place or a refusal, at once: a queue here would only let deadlines pass in it.
    /// `account`: whose share of the places it takes one of.
    pub fn take(&self, priority: Priority, caller: &Caller, account: Arc<str>) -> Result<Place, Error> {
        let refused = || Error::Unavailable { reason: reason::OVERLOADED, source: None };
        let limit = self.0.limits[priority as usize];
        self.0
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < limit).then_some(taken + 1))
            .map_err(|_full| refused())?;
        // From here on a refusal gives the place back by itself.
        let mut taken = Taken { places: self.clone(), caller: None };
        if !caller.has(Role::Coordinator) {
            let mut callers = self.0.callers();
            let count = callers.entry(Arc::clone(&account)).or_default();
            if *count >= self.0.per_caller {
                drop(callers);
                return Err(refused());
            }
            *count += 1;
            taken.caller = Some(account);
        }
        Ok(Arc::new(taken))
    }
}

impl Inner {
    fn callers(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let inner = &self.places.0;
        inner.taken.fetch_sub(1, Ordering::AcqRel);
        if let Some(caller) = self.caller.take() {
            let mut callers = inner.callers();
            if let Some(count) = callers.get_mut(&caller) {
                *count -= 1;
                if *count == 0 {
                    callers.remove(&caller);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cqm_proto::policy;

    use super::*;

    fn places(max_in_flight: usize, max_in_flight_per_caller: usize) -> Places {
        Places::new(&ServerConfig { max_in_flight, max_in_flight_per_caller, ..ServerConfig::default() })
    }

    fn caller(subject: &str, role: Role) -> Caller {
        Caller { subject: subject.into(), roles: vec![role] }
    }

    fn taken(places: &Places, priority: Priority, subject: &str) -> Vec<Place> {
        let role = if priority == Priority::Coordinator { Role::Coordinator } else { Role::InternalService };
        let caller = caller(subject, role);
        let take = || places.take(priority, &caller, Arc::clone(&caller.subject)).ok();
        std::iter::from_fn(take).take(1000).collect()
    }

    #[test]
    fn bulk_is_refused_first_and_the_coordinator_last() {
        let places = places(100, 100);
        let bulk = taken(&places, Priority::Bulk, "importer");
        assert_eq!(bulk.len(), 60);
        let calls = taken(&places, Priority::Call, "desk");
        assert_eq!(bulk.len() + calls.len(), 90);
        let coordinator = taken(&places, Priority::Coordinator, "coordinator");
        assert_eq!(coordinator.len(), 10);
        drop(calls);
        assert_eq!(taken(&places, Priority::Bulk, "importer").len(), 0);
        drop(bulk);
        assert_eq!(taken(&places, Priority::Call, "desk").len(), 80);
    }

    #[test]
    fn one_caller_leaves_places_to_the_others() {
        let places = places(100, 30);
        let first = taken(&places, Priority::Call, "first");
        assert_eq!(first.len(), 30);
        // What is refused takes no place.
        assert_eq!(taken(&places, Priority::Call, "second").len(), 30);
        drop(first);
        assert!(places.0.callers().is_empty());
        assert_eq!(places.0.taken.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_process_with_one_place_serves_everybody_in_turn() {
        let places = places(1, 1);
        for priority in [Priority::Bulk, Priority::Call, Priority::Coordinator] {
            assert_eq!(taken(&places, priority, "anybody").len(), 1, "{priority:?}");
        }
    }

    #[test]
    fn the_contract_says_what_is_bulk_and_the_role_who_coordinates() {
        let priority = |path, role| Priority::of(policy::find(path).unwrap(), &caller("x", role));
        let import = "/cqm.customers.v1.CustomerService/ImportCustomers";
        let get = "/cqm.customers.v1.CustomerService/GetCustomer";
        assert_eq!(priority(import, Role::InternalService), Priority::Bulk);
        assert_eq!(priority(get, Role::InternalService), Priority::Call);
        assert_eq!(priority(get, Role::Coordinator), Priority::Coordinator);
        let sources = "/cqm.gateway.v1.CoordinatorService/ListSources";
        assert_eq!(priority(sources, Role::Supervisor), Priority::Coordinator);
    }
}
