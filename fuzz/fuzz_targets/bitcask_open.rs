//! Feeds `fuzz_targets::bitcask_open`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: fuzz_targets::bitcask_open::Input| input.run());
