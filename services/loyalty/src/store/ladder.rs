//! The tiers as decisions read them: a copy in the process, because they change once a year and are read by every
//! earn.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cqm_db::{Conn, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Int4, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::domain::tier::{Ladder, Rung, Scheme};

/// How old the copy may be. Too short: every earn reads the tiers. Too long: a tier that somebody has just created is
/// given to nobody, and they wonder why.
const FRESH: Duration = Duration::from_secs(1);

/// The tiers with what the programme has decided about them. Clones share the copy.
///
/// The copy is at most a second old. Who changes a tier throws away that of their own process, so that they see what
/// they have done; other replicas follow within the second. A decision by an old copy is as good as one that came a
/// second earlier, but for two things, which are seen to: a member may hold a tier that the copy does not know, then it
/// is read anew; a tier that is deleted meanwhile may be given to a member, which the database refuses, and the
/// transaction is decided again by a new one.
#[derive(Clone, Debug)]
pub struct Tiers {
    scheme: Scheme,
    copy: TierCopy,
}

/// What all shards of the process share of it.
#[derive(Clone, Debug, Default)]
pub struct TierCopy(Arc<Mutex<Option<Copied>>>);

/// When it was read, and what there was.
type Copied = (Instant, Arc<Ladder>);

impl Tiers {
    pub fn new(scheme: Scheme, copy: TierCopy) -> Self {
        Self { scheme, copy }
    }

    /// The tiers as of a second ago at the oldest.
    pub async fn current(&self, conn: &Conn) -> Result<Arc<Ladder>, Error> {
        let kept = self.copy.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match kept {
            Some((read, ladder)) if read.elapsed() < FRESH => Ok(ladder),
            _ => self.read(conn).await,
        }
    }

    /// [`Self::current`], newer if it does not know one of these.
    pub async fn knowing(
        &self,
        conn: &Conn,
        held: impl Iterator<Item = Option<Uuid>>,
    ) -> Result<Arc<Ladder>, Error> {
        let ladder = self.current(conn).await?;
        let mut held = held;
        if held.any(|tier| tier.is_some() && ladder.find(tier).is_none()) {
            return self.read(conn).await;
        }
        Ok(ladder)
    }

    /// Throws the copy away.
    pub fn forget(&self) {
        *self.copy.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn read(&self, mut conn: &Conn) -> Result<Arc<Ladder>, Error> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = SqlUuid)]
            id: Uuid,
            #[diesel(sql_type = Int4)]
            rank: i32,
            #[diesel(sql_type = BigInt)]
            threshold: i64,
        }
        // Before it is read: a copy is as old as the oldest that it may hold.
        let now = Instant::now();
        let rows: Vec<Row> = statement("SELECT id, rank, threshold FROM tier").load(&mut conn).await?;
        let rungs = rows
            .into_iter()
            .map(|row| Rung { id: row.id, rank: row.rank, threshold: row.threshold })
            .collect();
        let ladder = Arc::new(Ladder::new(self.scheme, rungs));
        *self.copy.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&ladder)));
        Ok(ladder)
    }
}
