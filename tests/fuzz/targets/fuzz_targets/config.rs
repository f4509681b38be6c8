#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stentor_fuzz::config(data));
