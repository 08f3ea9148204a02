//! Splitting a whole number so that the parts add up to it.

/// Splits `total` over `weights` (none below 0) in proportion, by the largest remainder: each part is the exact share
/// rounded down or up, those with the largest fractions up, ties in order. No part exceeds its weight when the total
/// does not exceed their sum. `None` when nothing can be in proportion, because all weights are 0 and the total is not.
pub fn by_largest_remainder(total: i64, weights: &[i64]) -> Option<Vec<i64>> {
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if sum == 0 {
        return (total == 0).then(|| vec![0; weights.len()]);
    }
    let share = |weight: i64| i128::from(total) * i128::from(weight);
    let mut parts: Vec<i128> = weights.iter().map(|weight| share(*weight) / sum).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|place| std::cmp::Reverse(share(weights[*place]) % sum));
    let missing = i128::from(total) - parts.iter().sum::<i128>();
    for place in order.into_iter().take(usize::try_from(missing).ok()?) {
        parts[place] += 1;
    }
    parts.into_iter().map(|part| i64::try_from(part).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fractions_go_to_the_largest_remainders() {
        for (total, weights, parts) in [
            (10, vec![1, 1, 1], vec![4, 3, 3]),
            (100, vec![333, 333, 334], vec![33, 33, 34]),
            (7, vec![0, 5, 2], vec![0, 5, 2]),
            (1, vec![1, 2], vec![0, 1]),
            (0, vec![3, 4], vec![0, 0]),
            (i64::MAX, vec![i64::MAX, i64::MAX], vec![4_611_686_018_427_387_904, 4_611_686_018_427_387_903]),
        ] {
            assert_eq!(by_largest_remainder(total, &weights), Some(parts), "{total} over {weights:?}");
        }
        assert_eq!(by_largest_remainder(1, &[0, 0]), None);
        assert_eq!(by_largest_remainder(0, &[]), Some(vec![]));
    }

    proptest! {
        #[test]
        fn parts_add_up_and_none_exceeds_its_weight(
            weights in prop::collection::vec(0..1_000_000_i64, 1..20), share in 0.0..=1.0_f64,
        ) {
            let sum: i64 = weights.iter().sum();
            let total = (sum as f64 * share) as i64;
            let parts = by_largest_remainder(total, &weights).unwrap();
            prop_assert_eq!(parts.iter().sum::<i64>(), total);
            prop_assert!(parts.iter().zip(&weights).all(|(part, weight)| (0..=*weight).contains(part)));
        }
    }
}
