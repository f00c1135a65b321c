//! Values that can be checked to the last byte: each is drawn from who wrote it, where and when.

use base::rng::Rng;

/// Mixes numbers into a seed.
#[must_use]
pub fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x5bd1_e995, |seed, number| Rng::new(seed ^ number.wrapping_mul(0x9e37_79b9)).next_u64())
}

/// `len` bytes drawn from a seed. About half of them repeat others, so that compression has something to do.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = vec![0; len];
    for chunk in bytes.chunks_mut(64) {
        let (random, repeated) = chunk.split_at_mut(chunk.len().div_ceil(2));
        rng.fill(random);
        repeated.copy_from_slice(random.get(..repeated.len()).unwrap_or_default());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_seeds_give_other_bytes_and_the_same_one_the_same() {
        assert_eq!(bytes(mix(&[1, 2]), 1_000), bytes(mix(&[1, 2]), 1_000));
        assert_ne!(bytes(mix(&[1, 2]), 100), bytes(mix(&[2, 1]), 100));
        assert_eq!(bytes(1, 65).len(), 65);
    }
}
