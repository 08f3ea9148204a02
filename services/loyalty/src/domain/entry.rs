//! Entries: the movements of points that the ledger consists of.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::book::Book;
use super::chain::Hash;

cqm_rpc::words! {
    /// What an entry does.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Kind {
        /// Points are brought into being for something that happened.
        Earn = "EARN",
        /// Points are spent.
        Redeem = "REDEEM",
        /// Points are corrected, up or down.
        Adjust = "ADJUST",
        /// Points are set aside.
        Hold = "HOLD",
        /// Points that were set aside are spent.
        Commit = "COMMIT",
        /// Points that were set aside are given back.
        Release = "RELEASE",
        /// Points can be spent from now on.
        Mature = "MATURE",
        /// Points end unspent.
        Expire = "EXPIRE",
        /// Points that were earned are taken back.
        ReverseEarn = "REVERSE_EARN",
        /// Points that were spent are given back.
        ReverseSpend = "REVERSE_SPEND",
        /// Points pay off what the member owes.
        Repay = "REPAY",
        /// Points go from one name of a person to another, and what became of those that are gone.
        Merge = "MERGE",
    }
}

cqm_rpc::words! {
    /// Why points change.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum Reason {
        Purchase = "PURCHASE",
        SurveyAnswered = "SURVEY_ANSWERED",
        Compensation = "COMPENSATION",
        Adjustment = "ADJUSTMENT",
        Redemption = "REDEMPTION",
        /// Something that was under way came to its end or was given up.
        Hold = "HOLD",
        /// Time has passed.
        Time = "TIME",
        /// What it was for was taken back.
        Reversal = "REVERSAL",
        /// The customer brought in another one.
        Referral = "REFERRAL",
        Birthday = "BIRTHDAY",
        /// A reward was taken from the catalogue.
        Reward = "REWARD",
        /// Two members turned out to be one person.
        Merge = "MERGE",
    }
}

impl Reason {
    /// Whether one source gives points only once for it: a purchase, an answer and a promise happen once, a
    /// correction may follow another. The database knows the same list, see the table `entry_source`.
    pub const fn is_once(self) -> bool {
        matches!(
            self,
            Self::Purchase | Self::SurveyAnswered | Self::Compensation | Self::Referral | Self::Birthday
        )
    }
}

/// Who changes points, for what, and by which call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The caller's subject.
    pub actor: String,
    pub request_id: Uuid,
    pub reason: Reason,
    /// The name of the resource that it is for; empty: none.
    pub source: String,
    pub time: DateTime<Utc>,
}

impl Cause {
    /// The passing of time: its key is made of what it changes.
    pub fn time(changed: Uuid, what: &str, time: DateTime<Utc>) -> Self {
        Self {
            actor: "loyalty".into(),
            request_id: Uuid::new_v5(&changed, what.as_bytes()),
            reason: Reason::Time,
            source: String::new(),
            time,
        }
    }

    /// A member turns out to be another one, `other` being the other's name: its key is made of the two.
    pub fn merge(actor: String, merged: Uuid, survivor: Uuid, other: String, time: DateTime<Utc>) -> Self {
        let request_id = Uuid::new_v5(&merged, survivor.as_bytes());
        Self { actor, request_id, reason: Reason::Merge, source: other, time }
    }
}

/// One movement of points of one lot, from one account to another. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub customer: Uuid,
    /// 1, 2, 3 and so on for each member.
    pub sequence: i64,
    pub id: Uuid,
    /// The id of the first of the entries that were made together; they follow each other.
    pub transaction: Uuid,
    pub kind: Kind,
    pub reason: Reason,
    pub source: String,
    pub debit: Book,
    pub credit: Book,
    /// Over 0.
    pub points: i64,
    /// What is available after it.
    pub balance_after: i64,
    pub lot: Uuid,
    pub hold: Option<Uuid>,
    /// The sequence of the entry that is taken back.
    pub reverses: Option<i64>,
    /// Whose entry that is, when it was made under a name that was merged into this one.
    pub reverses_of: Option<Uuid>,
    /// The rule that gave the points.
    pub rule: Option<Uuid>,
    pub actor: String,
    pub request_id: Uuid,
    pub create_time: DateTime<Utc>,
    pub hash: Hash,
}

impl Entry {
    /// Whether its source gives points once, and these are they.
    pub fn is_once(&self) -> bool {
        self.id == self.transaction && self.reason.is_once() && !self.source.is_empty()
    }

    /// What it changed of the available points: below 0 when they went.
    pub fn change(&self) -> i64 {
        match (self.debit, self.credit) {
            (_, Book::Available) => self.points,
            (Book::Available, _) => -self.points,
            _ => 0,
        }
    }
}
