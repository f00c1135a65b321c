//! Feeds `fuzz_targets::wal_reader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: fuzz_targets::wal_reader::Input| input.run());
