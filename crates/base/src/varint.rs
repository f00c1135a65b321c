//! Variable-length unsigned integers: seven bits a byte, least significant first, the high bit set on all but the last.
//! Only the shortest form of a number is accepted, so that every number has one encoding.

use crate::DecodeError;

/// Most bytes that a `u64` takes.
pub const LEN_MAX: usize = 10;

/// Bytes that `value` takes.
#[must_use]
pub const fn len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` into `buffer` and says how many bytes it took.
#[must_use]
pub fn encode(mut value: u64, buffer: &mut [u8; LEN_MAX]) -> usize {
    let mut len = 0;
    for slot in buffer.iter_mut() {
        len += 1;
        if value < 0x80 {
            *slot = value.to_le_bytes()[0];
            break;
        }
        *slot = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
    }
    len
}

/// Appends `value` to `out`.
#[inline]
pub fn push(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Reads a number from the front of `bytes` and returns it with what is behind it.
///
/// # Errors
/// When the bytes end within the number, it passes 64 bits, or it is not in its shortest form.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Ok((u64::from(*first), rest)),
        _ => decode_long(bytes),
    }
}

fn decode_long(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let [byte, behind @ ..] = rest else {
            return Err(DecodeError::new("number cut short"));
        };
        rest = behind;
        let bits = u64::from(*byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(DecodeError::new("number over 64 bits"));
        }
        value |= bits << shift;
        if *byte < 0x80 {
            if *byte == 0 && shift > 0 {
                return Err(DecodeError::new("number not in its shortest form"));
            }
            return Ok((value, rest));
        }
    }
    Err(DecodeError::new("number over 64 bits"))
}

/// Reads a number that must fit `u32`.
///
/// # Errors
/// As [`decode`], and when the number passes 32 bits.
pub fn decode_u32(bytes: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    let (value, rest) = decode(bytes)?;
    Ok((u32::try_from(value).map_err(|_| DecodeError::new("number over 32 bits"))?, rest))
}

/// Reads a number and then that many bytes.
///
/// # Errors
/// As [`decode`], and when fewer bytes are left.
#[inline]
pub fn decode_bytes(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (len, rest) = decode(bytes)?;
    usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(DecodeError::new("bytes cut short"))
}

/// Appends the length of `bytes` and then `bytes`.
pub fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    push(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn encode_then_decode_is_identity(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut pushed = Vec::new();
            push(value, &mut pushed);
            let mut buffer = [0; LEN_MAX];
            let written = encode(value, &mut buffer);
            prop_assert_eq!(&buffer[..written], &pushed[..]);
            prop_assert_eq!(len(value), written);
            prop_assert_eq!(decode(&pushed).unwrap(), (value, &[][..]));
            for cut in 0..pushed.len() {
                prop_assert!(decode(&pushed[..cut]).is_err());
            }
        }
    }

    #[test]
    fn long_forms_and_overflow_are_refused() {
        assert!(decode(&[0x80, 0]).is_err());
        assert!(decode(&[0xff; 10]).is_err());
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).unwrap().0, u64::MAX);
        assert!(decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
    }
}
