//! The policies of service levels as they were read once: a version never changes, so that a copy is never old, and no
//! more are kept than were published.
//!
//! Which one is the newest is asked anew by every registration, by an index: who has published a policy may rely on it from
//! that moment on, at every replica.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cqm_db::Conn;
use cqm_rpc::Error;

use crate::domain::sla::Policy;
use crate::store;

/// Clones are the same copies; there is one set of them for each runtime.
#[derive(Clone, Debug, Default)]
pub struct Policies(Arc<Mutex<HashMap<i64, Arc<Policy>>>>);

impl Policies {
    /// The policy in force; `None` when none has been published.
    pub async fn newest(&self, conn: &mut Conn) -> Result<Option<Arc<Policy>>, Error> {
        match store::policy::newest_version(conn).await? {
            Some(version) => self.get(conn, version).await.map(Some),
            None => Ok(None),
        }
    }

    /// A version that complaints go by.
    pub async fn get(&self, conn: &mut Conn, version: i64) -> Result<Arc<Policy>, Error> {
        let known = self.copies().get(&version).cloned();
        if let Some(policy) = known {
            return Ok(policy);
        }
        let found = store::policy::find(conn, version).await?;
        let policy =
            Arc::new(found.ok_or_else(|| Error::internal("a complaint goes by a policy that is gone"))?);
        self.copies().insert(version, Arc::clone(&policy));
        Ok(policy)
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<i64, Arc<Policy>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
