#![no_main]

#[path = "../../tests/mutants/mod.rs"]
mod mutants;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mutants::{Random, Seed, seeds};
use std::sync::LazyLock;

static SEEDS: LazyLock<Vec<Seed>> = LazyLock::new(|| seeds(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));

fuzz_target!(|bytes: &[u8]| moescope_fuzz::model(bytes));

// Half of the mutants are still models; the fuzzer's own changes of bytes rarely are.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random(u64::from(seed));
    match mutants::changed(&data[..size], &SEEDS, &mut random).filter(|_| random.one_in(2)) {
        Some(model) if model.len() <= max_size => {
            data[..model.len()].copy_from_slice(&model);
            model.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
