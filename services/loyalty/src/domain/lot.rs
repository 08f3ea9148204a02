//! Lots: points that were earned together, end together and are spent in an order.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Points that were earned together. Where the amount is now: `remaining` + `held` + `spent` + `expired` + `reversed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot {
    /// The id of the entry that made it.
    pub id: Uuid,
    /// Over 0.
    pub amount: i64,
    /// Available, or pending.
    pub remaining: i64,
    /// Set aside.
    pub held: i64,
    pub spent: i64,
    /// Ended unspent.
    pub expired: i64,
    /// Taken back before they were spent, or gone to the name that stays.
    pub reversed: i64,
    /// What remains cannot be spent yet.
    pub pending: bool,
    pub earned_at: DateTime<Utc>,
    pub available_at: DateTime<Utc>,
    /// `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The place in the order of spending: what expires first goes first, what never expires goes last; ties by the time
/// when it was earned, then by id. The index `lot_spendable` has the same order.
pub type Place = (bool, Option<DateTime<Utc>>, DateTime<Utc>, Uuid);

impl Lot {
    pub fn place(&self) -> Place {
        (self.expires_at.is_none(), self.expires_at, self.earned_at, self.id)
    }

    /// What has not been taken back, wherever it is now.
    pub fn kept(&self) -> i64 {
        self.amount - self.reversed
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Whether it is all somewhere.
    pub fn is_whole(&self) -> bool {
        let parts = [self.remaining, self.held, self.spent, self.expired, self.reversed];
        parts.iter().all(|part| *part >= 0)
            && parts.iter().map(|part| i128::from(*part)).sum::<i128>() == i128::from(self.amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lot_that_expires_first_is_first_and_ties_go_by_time_then_id() {
        let day = |day: i64| DateTime::from_timestamp(day * 86_400, 0).unwrap();
        let lot = |id, earned, expires: Option<i64>| Lot {
            id: Uuid::from_u128(id),
            amount: 1,
            remaining: 1,
            held: 0,
            spent: 0,
            expired: 0,
            reversed: 0,
            pending: false,
            earned_at: day(earned),
            available_at: day(earned),
            expires_at: expires.map(day),
        };
        let mut lots = [
            lot(1, 1, None),
            lot(6, 2, Some(30)),
            lot(5, 2, Some(30)),
            lot(7, 1, Some(30)),
            lot(9, 4, Some(20)),
            lot(2, 0, None),
        ];
        lots.sort_by_key(Lot::place);
        assert_eq!(lots.map(|lot| lot.id.as_u128()), [9, 7, 5, 6, 2, 1]);
        assert!(lots[0].is_over(day(20)) && !lots[0].is_over(day(19)) && !lots[5].is_over(day(99)));
    }
}
