//! Feeds `fuzz_targets::vlog_reader`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: fuzz_targets::vlog_reader::Input| input.run());
