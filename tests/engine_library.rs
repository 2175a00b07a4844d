//! Libraries that are no ONNX Runtime. A process of its own: ONNX Runtime takes one library per process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::engine::{Engine, EngineError, EngineOptions, Execution, LoadRequest, find_library};
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn load(library: Option<&Path>) -> Result<(), EngineError> {
    let model = fixtures().join("models/tiny_classifier.onnx");
    Engine::start(EngineOptions { library: library.map(Path::to_path_buf), ..EngineOptions::default() })
        .load(&LoadRequest::new(model, Execution::default()))
        .map(|_| ())
}

/// The refusal of a library, which must be named.
fn refusal(library: &Path) -> String {
    let error = load(Some(library)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EngineError::Library { .. }) && text.contains(&library.display().to_string()), "{text}");
    text
}

#[test]
fn a_bad_library_is_named_and_a_good_one_can_follow() {
    let no_library = fixtures().join("expected.json");
    for library in [&no_library, &fixtures().join("no such file"), &fixtures()] {
        for _ in 0..2 {
            let text = refusal(library);
            assert!(text.contains("ORT_DYLIB_PATH"), "{text}");
        }
    }
    load(None).unwrap();
    load(Some(&find_library(None).unwrap())).unwrap();
    let text = refusal(&no_library);
    assert!(text.contains("Restart"), "{text}");
}
