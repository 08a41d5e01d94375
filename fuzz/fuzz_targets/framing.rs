//! See `hearth_fuzz_targets::framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hearth_fuzz_targets::framing(data));
