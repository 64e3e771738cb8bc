//! libFuzzer target; what it checks is said beside the function it calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seamio_fuzz::undo_log(data));
