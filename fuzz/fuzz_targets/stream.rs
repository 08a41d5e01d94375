//! See `hearth_fuzz_targets::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hearth_fuzz_targets::stream(data));
