//! Keys and values as db_bench makes them.
//!
//! A key is a number of 8 bytes, big-endian, filled up with the digit 0; shorter keys keep its low bytes. Values come
//! from a pool of pieces of 100 bytes of which the second half repeats the first, so that they shrink to half.

use base::rng::Rng;

const PIECE_BYTES: usize = 100;
const POOL_BYTES_MIN: usize = 1 << 20;
const NUMBER_BYTES: usize = 8;

/// The byte that a key ends in that is never written; keys that are end in the digit 0.
const ABSENT_MARK: u8 = b'.';

/// Writes the key of `number` into `key`.
pub(crate) fn write_key(key: &mut [u8], number: u64) {
    let number = number.to_be_bytes();
    let skipped = NUMBER_BYTES.saturating_sub(key.len());
    key.fill(b'0');
    for (to, from) in key.iter_mut().zip(number.into_iter().skip(skipped)) {
        *to = from;
    }
}

/// Makes of a written key one that lies beside it and is never written.
pub(crate) fn make_absent(key: &mut [u8]) {
    if let Some(last) = key.last_mut() {
        *last = ABSENT_MARK;
    }
}

/// Whether keys of this length have room for [`make_absent`].
pub(crate) fn has_absent_keys(key_size: usize) -> bool {
    key_size > NUMBER_BYTES
}

/// Whether keys of this length can tell `num` numbers apart.
pub(crate) fn tells_apart(key_size: usize, num: u64) -> bool {
    key_size >= NUMBER_BYTES || num.checked_shr(8 * key_size as u32).unwrap_or(0) == 0
}

/// A source of values.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    pool: &'a [u8],
    value_size: usize,
    at: usize,
}

impl<'a> Values<'a> {
    /// Values out of a pool, beginning at a place that depends on `seed`.
    pub(crate) fn new(pool: &'a [u8], value_size: usize, seed: u64) -> Self {
        let at = Rng::new(seed).below(pool.len() as u64) as usize;
        Self { pool, value_size, at }
    }

    /// The next value.
    #[inline]
    pub(crate) fn next(&mut self) -> &'a [u8] {
        if self.at + self.value_size > self.pool.len() {
            self.at = 0;
        }
        let value = self.pool.get(self.at..self.at + self.value_size).unwrap_or_default();
        self.at += self.value_size;
        value
    }
}

/// The bytes that values of up to `value_size` are taken from.
pub(crate) fn value_pool(value_size: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let bytes = POOL_BYTES_MIN.max(2 * value_size);
    let mut pool = Vec::with_capacity(bytes + PIECE_BYTES);
    while pool.len() < bytes {
        let start = pool.len();
        pool.extend((0..PIECE_BYTES / 2).map(|_| b' ' + rng.below(95) as u8));
        pool.extend_from_within(start..);
    }
    pool
}

/// A permutation of the numbers below `num`: each of them once, in an order that looks random.
///
/// A Feistel network over the next power of four; what falls outside is sent through again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    num: u64,
    half_bits: u32,
    seed: u64,
}

impl Permutation {
    pub(crate) fn new(num: u64, seed: u64) -> Self {
        let bits = u64::BITS - num.saturating_sub(1).leading_zeros();
        Self { num, half_bits: bits.div_ceil(2).max(1), seed }
    }

    /// The number at a place below `num`.
    pub(crate) fn at(&self, place: u64) -> u64 {
        let mut number = place;
        loop {
            number = self.shuffle(number);
            if number < self.num {
                return number;
            }
        }
    }

    fn shuffle(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for round in 0..4 {
            let mixed = Rng::new(self.seed ^ (right << 8) ^ round).next_u64() & mask;
            (left, right) = (right, left ^ mixed);
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_big_endian_numbers_filled_up_with_zeros() {
        let key = |size: usize, number| {
            let mut key = vec![1; size];
            write_key(&mut key, number);
            key
        };
        assert_eq!(key(10, 0x0102), b"\0\0\0\0\0\0\x01\x0200");
        assert_eq!(key(3, 0x0102), b"\0\x01\x02");
        assert!(tells_apart(2, 65_535) && !tells_apart(2, 65_536) && tells_apart(16, u64::MAX));
    }

    #[test]
    fn an_absent_key_lies_between_written_ones() {
        let mut absent = [0; 16];
        write_key(&mut absent, 5);
        make_absent(&mut absent);
        let (mut five, mut six) = ([0; 16], [0; 16]);
        write_key(&mut five, 5);
        write_key(&mut six, 6);
        assert!(absent != five && absent < six);
        assert!(has_absent_keys(16) && !has_absent_keys(8));
    }

    #[test]
    fn a_permutation_has_each_number_once() {
        for num in [1, 2, 3, 100, 1_000, 4_097] {
            let permutation = Permutation::new(num, 7);
            let mut seen: Vec<u64> = (0..num).map(|place| permutation.at(place)).collect();
            assert!(num < 100 || seen.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() < 10);
            seen.sort_unstable();
            assert_eq!(seen, (0..num).collect::<Vec<_>>());
        }
    }

    #[test]
    fn values_repeat_half_of_each_piece_and_stay_inside_the_pool() {
        let pool = value_pool(100, 1);
        assert!(pool.chunks_exact(100).all(|piece| piece[..50] == piece[50..]));
        let mut values = Values::new(&pool, 300_000, 9);
        assert!((0..20).all(|_| values.next().len() == 300_000));
    }
}
