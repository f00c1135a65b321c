//! Feeds `fuzz_targets::table_reader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: fuzz_targets::table_reader::Input| input.run());
