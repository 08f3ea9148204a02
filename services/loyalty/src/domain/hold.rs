//! Holds: points that are set aside for something under way, pinned to lots.

use chrono::{DateTime, Utc};
use uuid::Uuid;

cqm_rpc::words! {
    /// Where a hold is.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum State {
        /// Something is held.
        Open = "OPEN",
        /// It came to its end; at least a part was spent.
        Committed = "COMMITTED",
        /// It was given up; nothing was spent.
        Released = "RELEASED",
        /// It ran out of time; what was held then went back.
        Expired = "EXPIRED",
    }
}

/// Points that are set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: Uuid,
    pub state: State,
    pub points: i64,
    pub committed: i64,
    pub released: i64,
    /// The name of the resource that it is for; empty: none.
    pub source: String,
    /// What is still held then goes back by itself.
    pub expires_at: DateTime<Utc>,
    pub create_time: DateTime<Utc>,
    pub update_time: DateTime<Utc>,
    /// In the order of spending; the points of all are those of the hold.
    pub lots: Vec<Pin>,
}

/// What a hold has of one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub lot: Uuid,
    pub points: i64,
    pub committed: i64,
    pub released: i64,
}

impl Hold {
    /// What is held now.
    pub fn left(&self) -> i64 {
        self.points - self.committed - self.released
    }
}

impl Pin {
    pub fn left(&self) -> i64 {
        self.points - self.committed - self.released
    }
}
