#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "nodes of any size in one allocation, read while others are linked in")]
mod arena;
mod budget;
mod cursor;
mod finger;
mod index;
mod list;
mod lookahead;
mod memtable;
mod reservation;
mod target;

pub use cursor::MemtableCursor;
pub use memtable::{Full, Memtable};
pub use reservation::{Inserted, OverReservation, Reservation};
