#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stentor_fuzz::peer_frames(data));
