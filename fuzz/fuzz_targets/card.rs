#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| moescope_fuzz::card(concat!(env!("CARGO_MANIFEST_DIR"), "/.."), text));
