#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod codec;
mod compressor;
mod decompress;
#[cfg(test)]
mod tests;

pub use codec::{Codec, Compression, RAW_LEN_LEN, RAW_LEN_MAX};
pub use compressor::Compressor;
pub use decompress::decompress;
