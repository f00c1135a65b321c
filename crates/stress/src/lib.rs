#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod content;
mod failure;
pub mod fault_sweep;
pub mod forgetful;
pub mod history;
pub mod kill;

pub mod power_loss;

pub use failure::{Failure, Outcome};
