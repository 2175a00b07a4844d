//! A short form of `cargo bench --bench mutate`: some hundreds of mutants in worker processes.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod mutants;
#[path = "mutants/trial.rs"]
mod trial;

use moescope::engine::{Engine, EngineOptions, Isolation, Limits};
use mutants::{mutant, seeds};
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;
use trial::{Ending, trial};

#[test]
fn whatever_mutants_do_a_good_model_runs_afterwards() {
    let limits = Limits { load: Duration::from_secs(10), run: Duration::from_secs(10), memory_bytes: Some(2 << 30) };
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let engine = Engine::start(EngineOptions { isolation, limits, ..EngineOptions::default() });
    let seeds = seeds(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut counts = BTreeMap::new();
    for number in 0..300 {
        let path = folder.path().join(format!("{number}.onnx"));
        *counts.entry(trial(&engine, &path, &mutant(&seeds, number))).or_insert(0) += 1;
    }
    assert!(!counts.keys().any(|ending| matches!(ending, Ending::Strange(_))), "{counts:?}");
    // Mutants that nothing accepts would test nothing, and neither would mutants that everything accepts.
    for ending in [Ending::Ran, Ending::RefusedByUs, Ending::RefusedByOnnxRuntime, Ending::FailedRunning] {
        assert!(counts.get(&ending).is_some_and(|count| *count >= 3), "{ending:?}: {counts:?}");
    }
    let good = seeds.iter().find(|seed| seed.name == "tiny_moe.onnx").expect("a fixture");
    assert_eq!(trial(&engine, &folder.path().join("good.onnx"), &good.model.encode_to_vec()), Ending::Ran);
}
