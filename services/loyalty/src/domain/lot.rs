//! Lots: points that were earned together, and the order in which they are spent.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Refusal;

/// Points that were earned together and end together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    pub id: Uuid,
    /// What was earned, over 0.
    pub amount: i64,
    /// What is left of it, 0 to `amount`.
    pub remaining: i64,
    pub earned_at: DateTime<Utc>,
    /// From when on it can be spent.
    pub available_at: DateTime<Utc>,
    /// From when on it cannot be spent any more; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Lot {
    /// What can be spent of it now.
    pub fn spendable(&self, now: DateTime<Utc>) -> i64 {
        let open = self.available_at <= now && self.expires_at.is_none_or(|expires_at| now < expires_at);
        if open { self.remaining } else { 0 }
    }

    /// The place in the order of spending: what expires first goes first, what never expires goes last; ties by the
    /// time when it was earned, then by id.
    fn order(&self) -> (bool, Option<DateTime<Utc>>, DateTime<Utc>, Uuid) {
        (self.expires_at.is_none(), self.expires_at, self.earned_at, self.id)
    }
}

/// Points that are taken out of one lot, over 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    pub lot: Uuid,
    pub points: i64,
}

/// What can be spent now, of all lots. The sum fits when the account's balance does.
pub fn spendable(lots: &[Lot], now: DateTime<Utc>) -> Result<i64, Refusal> {
    lots.iter().try_fold(0_i64, |sum, lot| sum.checked_add(lot.spendable(now))).ok_or(Refusal::Overflow)
}

/// Chooses the lots that `points` (over 0) are taken from, in the order of spending, whatever the order they come
/// in. Refuses when they do not suffice.
///
/// Spending takes from lots, never from a sum: a balance kept as credits less debits would let expired points be
/// counted against later ones.
pub fn spend(lots: &[Lot], points: i64, now: DateTime<Utc>) -> Result<Vec<Take>, Refusal> {
    let mut open: Vec<&Lot> = lots.iter().filter(|lot| lot.spendable(now) > 0).collect();
    open.sort_by_key(|lot| lot.order());
    let (mut takes, mut wanted) = (Vec::new(), points);
    for lot in open {
        if wanted == 0 {
            break;
        }
        let points = wanted.min(lot.remaining);
        takes.push(Take { lot: lot.id, points });
        wanted -= points;
    }
    if wanted > 0 {
        return Err(Refusal::Insufficient { available: spendable(lots, now)? });
    }
    Ok(takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(day * 86_400, 0).expect("a day of the tests is in range")
    }

    fn lot(id: u128, points: i64, earned: i64, expires: Option<i64>) -> Lot {
        Lot {
            id: Uuid::from_u128(id),
            amount: points,
            remaining: points,
            earned_at: day(earned),
            available_at: day(earned),
            expires_at: expires.map(day),
        }
    }

    fn taken(lots: &[Lot], points: i64, now: i64) -> Result<Vec<(u128, i64)>, Refusal> {
        Ok(spend(lots, points, day(now))?.iter().map(|take| (take.lot.as_u128(), take.points)).collect())
    }

    #[test]
    fn the_lot_that_expires_first_is_spent_first_and_ties_go_by_time_then_id() {
        let lots = [
            lot(1, 10, 1, None),
            lot(6, 10, 2, Some(30)),
            lot(5, 10, 2, Some(30)),
            lot(7, 10, 1, Some(30)),
            lot(9, 10, 4, Some(20)),
            lot(2, 10, 0, None),
        ];
        assert_eq!(taken(&lots, 60, 5), Ok(vec![(9, 10), (7, 10), (5, 10), (6, 10), (2, 10), (1, 10)]),);
        assert_eq!(taken(&lots, 25, 5), Ok(vec![(9, 10), (7, 10), (5, 5)]));
        assert_eq!(taken(&lots, 1, 5), Ok(vec![(9, 1)]));
    }

    #[test]
    fn points_that_are_not_there_are_not_spent() {
        let lots = [lot(1, 10, 0, None), lot(2, 5, 0, Some(10)), lot(3, 7, 20, None)];
        for (points, now, available) in [(16, 5, 15), (11, 10, 10), (18, 20, 17), (i64::MAX, 5, 15)] {
            assert_eq!(
                taken(&lots, points, now),
                Err(Refusal::Insufficient { available }),
                "{points} on day {now}"
            );
        }
        assert_eq!(taken(&[], 1, 0), Err(Refusal::Insufficient { available: 0 }));
    }

    /// Known answer: earn 100 that expire on day 10, spend 80 on day 5, earn 50 that never expire on day 6. On day
    /// 11 there are 50; credits less debits less expired credits would be -30.
    #[test]
    fn the_balance_does_not_collapse_when_a_lot_that_was_spent_expires() {
        let mut first = lot(1, 100, 0, Some(10));
        assert_eq!(taken(std::slice::from_ref(&first), 80, 5), Ok(vec![(1, 80)]));
        first.remaining -= 80;
        let lots = [first, lot(2, 50, 6, None)];
        for (now, left) in [(6, 70), (9, 70), (10, 50), (11, 50)] {
            assert_eq!(spendable(&lots, day(now)), Ok(left), "on day {now}");
        }
        assert_eq!(taken(&lots, 30, 9), Ok(vec![(1, 20), (2, 10)]));
        assert_eq!(taken(&lots, 50, 11), Ok(vec![(2, 50)]));
    }

    #[test]
    fn a_sum_over_64_bits_is_refused() {
        let lots = [lot(1, i64::MAX, 0, None), lot(2, 1, 0, None)];
        assert_eq!(spendable(&lots, day(1)), Err(Refusal::Overflow));
        assert_eq!(taken(&lots, i64::MAX, 1), Ok(vec![(1, i64::MAX)]));
    }
}
