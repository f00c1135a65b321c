//! Zipf's distribution: few records are asked for often, most hardly ever.
//!
//! Rejection-inversion (Hormann and Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", 1996): exact, one power for most draws, and nothing to sum up beforehand.

use base::rng::Rng;

/// YCSB's constant: the record of rank `r` is asked for in proportion to `1 / r^0.99`.
const EXPONENT: f64 = 0.99;

/// The ranks below a number, rank 0 the most frequent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zipf {
    num: f64,
    area_begin: f64,
    area_end: f64,
    /// Up to this far below its rank a point is taken without a second look.
    surely_within: f64,
}

impl Zipf {
    pub(crate) fn new(num: u64) -> Self {
        let num = num.max(1) as f64;
        Self {
            num,
            area_begin: area(1.5) - 1.0,
            area_end: area(num + 0.5),
            surely_within: 2.0 - area_inverse(area(2.5) - frequency(2.0)),
        }
    }

    /// Draws a rank.
    #[inline]
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        loop {
            let at = self.area_end + unit(rng) * (self.area_begin - self.area_end);
            let point = area_inverse(at);
            let rank = point.round().clamp(1.0, self.num);
            if rank - point <= self.surely_within || at >= area(rank + 0.5) - frequency(rank) {
                return rank as u64 - 1;
            }
        }
    }
}

fn frequency(rank: f64) -> f64 {
    rank.powf(-EXPONENT)
}

/// The integral of `frequency`, but for a constant.
fn area(rank: f64) -> f64 {
    rank.powf(1.0 - EXPONENT) / (1.0 - EXPONENT)
}

fn area_inverse(area: f64) -> f64 {
    (area * (1.0 - EXPONENT)).powf(1.0 / (1.0 - EXPONENT))
}

/// A number from 0 to below 1.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_drawn_as_often_as_zipf_says() {
        const DRAWS: u32 = 1_000_000;
        for num in [1_usize, 2, 10, 1_000] {
            let (zipf, mut rng) = (Zipf::new(num as u64), Rng::new(7));
            let mut counts = vec![0_u32; num];
            for _ in 0..DRAWS {
                counts[zipf.draw(&mut rng) as usize] += 1;
            }
            let sum: f64 = (1..=num).map(|rank| frequency(rank as f64)).sum();
            for (at, &count) in counts.iter().enumerate() {
                let expected = f64::from(DRAWS) * frequency((at + 1) as f64) / sum;
                let deviation = (f64::from(count) - expected).abs();
                assert!(deviation <= 5.0 * expected.sqrt(), "rank {at} of {num}: {count}, not {expected:.0}");
            }
        }
    }

    #[test]
    fn many_records_are_all_within_range_and_the_first_hundredth_gets_most() {
        const NUM: u64 = 10_000_000;
        let (zipf, mut rng) = (Zipf::new(NUM), Rng::new(42));
        let ranks: Vec<u64> = (0..100_000).map(|_| zipf.draw(&mut rng)).collect();
        assert!(ranks.iter().all(|&rank| rank < NUM));
        assert!(ranks.iter().filter(|&&rank| rank < NUM / 100).count() > 60_000);
        assert!(ranks.iter().any(|&rank| rank > NUM / 2), "the rare ones are drawn too");
    }
}
