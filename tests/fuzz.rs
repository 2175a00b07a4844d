//! A short form of `cargo fuzz run model` and `card` for stable Rust: the same functions over the models of this
//! repository and some thousands of mutants. The long form is in CONTRIBUTING.md.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod mutants;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use mutants::{Random, Seed, mutant, seeds};
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Not more than seconds in an unoptimised build.
const MUTANTS: u64 = 6000;

#[test]
fn the_models_of_this_repository_do_no_harm_whole_or_cut_off() {
    for folder in ["tests/fixtures/models", "tests/hostile_models", "fuzz/found"] {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder") {
            let bytes = fs::read(entry.expect("an entry").path()).expect("a model");
            for end in (0..=bytes.len()).step_by(1 + bytes.len() / 64) {
                targets::model(&bytes[..end]);
            }
            targets::model(&bytes);
        }
    }
}

#[test]
fn mutants_of_models_do_no_harm() {
    let seeds = seeds(ROOT);
    assert!(seeds.len() > 80);
    (0..MUTANTS).for_each(|number| targets::model(&mutant(&seeds, number)));
}

/// Routers in functions, in a loop's surroundings, and behind product keys: found and edited as far as they still are there.
#[test]
fn mutants_of_mixtures_do_no_harm() {
    let rows = ["variant-functions", "variant-loop", "peer-dynamo"];
    let seed = |row: &&str| {
        let path = Path::new(ROOT).join("models/zoo/rows").join(row).join("model.onnx");
        let model = prost::Message::decode(fs::read(path).expect("a row").as_slice()).expect("a model");
        Seed { name: (*row).to_owned(), model }
    };
    let seeds: Vec<Seed> = rows.iter().map(seed).collect();
    (0..150).for_each(|number| targets::model(&mutant(&seeds, number)));
}

/// All seeds are valid: what is found in their mutants was put there.
#[test]
fn seeds_pass_the_checks() {
    use moescope::model::decode_model;
    use prost::Message;
    for seed in seeds(ROOT) {
        let bytes = seed.model.encode_to_vec().into();
        decode_model(Path::new("seed.onnx"), &bytes).unwrap_or_else(|error| panic!("{}: {error}", seed.name));
    }
}

#[test]
fn mutants_of_cards_do_no_harm() {
    let readme = fs::read_to_string(Path::new(ROOT).join("models/README.md")).expect("the card's documentation");
    let example = readme.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    targets::card(ROOT, example);
    for number in 0..300 {
        let mut random = Random(number);
        let mut bytes = example.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = b"0123456789-+.eE\"{}[],:nul "[random.below(26)];
        }
        targets::card(ROOT, &String::from_utf8_lossy(&bytes));
    }
}
