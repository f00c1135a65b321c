//! Brings compressed bytes back.

use std::cell::RefCell;

use base::DecodeError;

use crate::{Codec, RAW_LEN_LEN, RAW_LEN_MAX};

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Brings back what was compressed: `compressed` is the raw length and the codec's bytes.
///
/// # Errors
/// When the raw length is over [`RAW_LEN_MAX`], before anything is allocated, or not that of what comes out, and when the
/// bytes do not decompress.
pub fn decompress(codec: Codec, compressed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (raw_len, coded) = compressed
        .split_first_chunk::<RAW_LEN_LEN>()
        .ok_or(DecodeError::new("compressed bytes without their length"))?;
    let raw_len = u32::from_le_bytes(*raw_len) as usize;
    if raw_len > RAW_LEN_MAX {
        return Err(DecodeError::new("compressed bytes claim to have been longer than any that are compressed"));
    }
    match codec {
        Codec::Raw => Err(DecodeError::new("raw bytes taken for compressed ones")),
        Codec::Snappy => decompress_snappy(raw_len, coded),
        Codec::Zstd => decompress_zstd(raw_len, coded),
    }
}

fn decompress_snappy(raw_len: usize, coded: &[u8]) -> Result<Vec<u8>, DecodeError> {
    const DAMAGED: DecodeError = DecodeError::new("Snappy bytes do not decompress");
    if snap::raw::decompress_len(coded).map_err(|_| DAMAGED)? != raw_len {
        return Err(DecodeError::new("Snappy bytes of another length than recorded"));
    }
    let mut raw = vec![0; raw_len];
    snap::raw::Decoder::new().decompress(coded, &mut raw).map_err(|_| DAMAGED)?;
    Ok(raw)
}

fn decompress_zstd(raw_len: usize, coded: &[u8]) -> Result<Vec<u8>, DecodeError> {
    const DAMAGED: DecodeError = DecodeError::new("Zstandard bytes do not decompress");
    let mut raw = Vec::with_capacity(raw_len);
    ZSTD.with(|context| {
        let mut context = context.try_borrow_mut().map_err(|_| DAMAGED)?;
        if context.is_none() {
            *context = zstd::bulk::Decompressor::new().ok();
        }
        let decompressor = context.as_mut().ok_or(DecodeError::new("no memory to decompress"))?;
        decompressor.decompress_to_buffer(coded, &mut raw).map_err(|_| DAMAGED)
    })?;
    if raw.len() != raw_len {
        return Err(DecodeError::new("Zstandard bytes of another length than recorded"));
    }
    Ok(raw)
}
