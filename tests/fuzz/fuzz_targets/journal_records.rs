#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seamio_fuzz::journal_records(data));
