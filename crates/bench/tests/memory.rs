//! Anonymous memory of a fill with the default options, memtables of 64 MiB: at most 300 MiB.
//!
//! The only test of its file, so that it has a process of its own: what others had allocated would count.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use base::show;
use bench::{Parameters, Ratel, Runner};

const PEAK_MIB_MAX: u64 = 300;

#[test]
fn a_fill_stays_within_its_memory() {
    let parameters = Parameters::default();
    assert_eq!(parameters.write_buffer_bytes, 64 << 20);
    let mut runner = Runner::<Ratel>::new(parameters, None).unwrap();
    let figures = runner.run(&"fillrandom".parse().unwrap()).unwrap();
    runner.close().unwrap();
    let peak_mib = figures.peak_anon_bytes >> 20;
    show!("memory: {peak_mib} MiB at most while {} entries were filled in", figures.ops);
    // More than a memtable, or the measurement is none.
    assert!((64..=PEAK_MIB_MAX).contains(&peak_mib), "{peak_mib} MiB");
}
