//! The net promoter score and the share of the satisfied, each with its 95 % interval.
//!
//! Scores go out in integer basis points (hundredths of a point or of a per cent), rounded half away from zero.

/// The 97.5 % quantile of the normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// The least answers that make a promoter and a passive.
const PROMOTER_FROM: i32 = 9;
const PASSIVE_FROM: i32 = 7;

/// A score and the ends of its interval, in basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    pub score: i32,
    pub low: i32,
    pub high: i32,
}

/// How likely customers are to recommend, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recommendation {
    pub promoters: i64,
    pub passives: i64,
    pub detractors: i64,
}

impl Recommendation {
    /// Counts `count` answers of one likelihood, 0 to 10.
    pub fn add(&mut self, likelihood: i32, count: i64) {
        match likelihood {
            PROMOTER_FROM.. => self.promoters += count,
            PASSIVE_FROM.. => self.passives += count,
            _ => self.detractors += count,
        }
    }

    pub fn n(&self) -> i64 {
        self.promoters + self.passives + self.detractors
    }

    /// The net promoter score, -10000 to 10000: `100·(p − d)`. `None` without answers.
    ///
    /// The interval is always the adjusted one, at every n: `z·sqrt(v/n)` around the score of the answers with three
    /// pseudo-answers added (¾ promoter, 1½ passive, ¾ detractor), cut off at the ends of the scale. The plain interval
    /// has no width when all answers are alike; one form for all n does not jump where that ceases to be so. The
    /// interval is therefore not centred on the score.
    pub fn score(&self) -> Option<Score> {
        let plain = self.net(0.0)?;
        let adjusted = self.net(3.0)?;
        let margin = adjusted.margin();
        let ends = |value: f64| points(value.clamp(-1.0, 1.0));
        Some(Score {
            score: points(plain.difference),
            low: ends(adjusted.difference - margin),
            high: ends(adjusted.difference + margin),
        })
    }

    /// Half the width of the plain interval, `z·sqrt(v/n)` with `v = p + d − (p − d)²`; 0 when all answers are alike.
    pub fn margin(&self) -> Option<i32> {
        self.net(0.0).map(|net| points(net.margin()))
    }

    fn net(&self, pseudo: f64) -> Option<Net> {
        if self.n() == 0 {
            return None;
        }
        let n = self.n() as f64 + pseudo;
        let promoters = (self.promoters as f64 + pseudo / 4.0) / n;
        let detractors = (self.detractors as f64 + pseudo / 4.0) / n;
        let difference = promoters - detractors;
        let variance = promoters + detractors - difference * difference;
        // Rounding can leave a variance of nought a little below it.
        Some(Net { difference, error: (variance.max(0.0) / n).sqrt() })
    }
}

/// As shares, -1 to 1.
struct Net {
    difference: f64,
    error: f64,
}

impl Net {
    fn margin(&self) -> f64 {
        Z95 * self.error
    }
}

/// The share of the satisfied, 0 to 10000, with Wilson's interval. `None` without answers.
pub fn satisfaction(positive: i64, n: i64) -> Option<Score> {
    if n == 0 {
        return None;
    }
    let (count, z2) = (n as f64, Z95 * Z95);
    let share = positive as f64 / count;
    let centre = (share + z2 / (2.0 * count)) / (1.0 + z2 / count);
    let half = Z95 * (share * (1.0 - share) / count + z2 / (4.0 * count * count)).sqrt() / (1.0 + z2 / count);
    let ends = |value: f64| points(value.clamp(0.0, 1.0));
    Some(Score { score: points(share), low: ends(centre - half), high: ends(centre + half) })
}

fn points(share: f64) -> i32 {
    (share * 10_000.0).round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(promoters: i64, passives: i64, detractors: i64) -> Recommendation {
        Recommendation { promoters, passives, detractors }
    }

    #[test]
    fn known_net_promoter_scores() {
        for (counts, score, error, margin) in
            [(counts(50, 33, 17), 33.0, 7.4907, 14.6814), (counts(192, 128, 65), 32.987, 3.8095, 7.466)]
        {
            let net = counts.net(0.0).unwrap();
            assert!((100.0 * net.difference - score).abs() < 5e-4, "{counts:?}");
            assert!((100.0 * net.error - error).abs() < 5e-5, "{counts:?}");
            assert!((100.0 * net.margin() - margin).abs() < 5e-4, "{counts:?}");
        }
        assert_eq!(counts(50, 33, 17).score().unwrap().score, 3300);
        assert_eq!(counts(50, 33, 17).margin(), Some(1468));
        assert_eq!(counts(192, 128, 65).score().unwrap().score, 3299);
        assert_eq!(counts(192, 128, 65).margin(), Some(747));
    }

    #[test]
    fn two_waves_differ_significantly() {
        let (first, second) = (counts(120, 80, 100).net(0.0).unwrap(), counts(150, 90, 60).net(0.0).unwrap());
        let difference = second.difference - first.difference;
        let z = difference / (first.error * first.error + second.error * second.error).sqrt();
        assert!((100.0 * difference - 23.333).abs() < 5e-4);
        assert!((z - 3.4927).abs() < 5e-5, "{z}");
    }

    #[test]
    fn answers_that_are_all_alike_have_an_interval_all_the_same() {
        let all = counts(10, 0, 0);
        assert_eq!(all.margin(), Some(0));
        let adjusted = all.net(3.0).unwrap();
        assert!((100.0 * adjusted.difference - 76.9).abs() < 0.05);
        assert!((100.0 * adjusted.margin() - 29.4).abs() < 0.05);
        // 76.92 - 29.42, and the end of the scale.
        assert_eq!(all.score(), Some(Score { score: 10_000, low: 4750, high: 10_000 }));
        assert_eq!(counts(0, 0, 10).score(), Some(Score { score: -10_000, low: -10_000, high: -4750 }));
    }

    #[test]
    fn the_classes_of_likelihood() {
        let mut all = Recommendation::default();
        for likelihood in 0..=10 {
            all.add(likelihood, 1);
        }
        assert_eq!(all, counts(2, 2, 7));
    }

    #[test]
    fn known_shares_of_the_satisfied() {
        for (positive, n, expected) in
            [(150, 250, (6000, 5382, 6588)), (10, 10, (10_000, 7225, 10_000)), (0, 10, (0, 0, 2775))]
        {
            let Score { score, low, high } = satisfaction(positive, n).unwrap();
            assert_eq!((score, low, high), expected, "{positive}/{n}");
        }
    }

    #[test]
    fn nobody_has_no_score() {
        assert_eq!(Recommendation::default().score(), None);
        assert_eq!(Recommendation::default().margin(), None);
        assert_eq!(satisfaction(0, 0), None);
    }

    proptest! {
        #[test]
        fn scores_stay_on_their_scale(promoters in 0..10_000_i64, passives in 0..10_000_i64, detractors in 0..10_000_i64) {
            let counts = counts(promoters, passives, detractors);
            prop_assume!(counts.n() > 0);
            let nps = counts.score().unwrap();
            prop_assert!(-10_000 <= nps.low && nps.low < nps.high && nps.high <= 10_000);
            prop_assert!((-10_000..=10_000).contains(&nps.score));
            prop_assert!((0..=20_000).contains(&counts.margin().unwrap()));
            let csat = satisfaction(promoters, counts.n()).unwrap();
            prop_assert!(0 <= csat.low && csat.low <= csat.score && csat.score <= csat.high && csat.high <= 10_000);
        }
    }
}
