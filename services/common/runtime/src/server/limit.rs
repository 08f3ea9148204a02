//! How many calls are at work in the whole process. tower's limits count per connection, which bounds nothing.

use std::sync::Arc;

use cqm_rpc::{Error, reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of the process, shared by its shards.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

/// A call's place. Held as long as the call works, which for a mutation may be longer than its caller waits.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

impl Places {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A place or a refusal, at once: a queue here would only let deadlines pass in it.
    pub fn take(&self) -> Result<Place, Error> {
        let permit = Arc::clone(&self.0)
            .try_acquire_owned()
            .map_err(|_| Error::Unavailable { reason: reason::OVERLOADED, source: None })?;
        Ok(Arc::new(permit))
    }
}
