//! Feeds `fuzz_targets::key_registry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: fuzz_targets::key_registry::Input| input.run());
