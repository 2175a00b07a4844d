//! Providers that are not there or do not start: said, and never silently replaced. Nothing is downloaded; the builds of
//! ONNX Runtime that are "installed" here are stand-ins.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Runs the program with `home` as the folder for installed runtimes.
fn run(home: &TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moescope"));
    command.args(args).env("XDG_DATA_HOME", home.path()).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A home with a library in place of a runtime's.
fn home_with(runtime: &str, library: impl FnOnce(&Path)) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("moescope/runtimes").join(runtime);
    fs::create_dir_all(&folder).unwrap();
    library(&folder.join("libonnxruntime.so.1"));
    home
}

/// The library of the CPU, as if it were another build.
fn cpu_only(place: &Path) {
    fs::copy(moescope::engine::find_library(None).unwrap(), place).unwrap();
}

const CAT: &str = "assets/samples/cat.jpg";

#[test]
fn a_provider_that_is_not_installed_is_refused_or_replaced_with_a_word() {
    let home = tempfile::tempdir().unwrap();
    for (provider, name) in [("cuda", "CUDA"), ("webgpu", "WebGPU"), ("openvino", "OpenVINO"), ("coreml", "CoreML")] {
        let (code, out, errors) = run(&home, &["classify", CAT, "--require-provider", provider]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{errors}");
        assert!(errors.contains(&format!("{name} is not installed")), "{errors}");
    }
    let (code, out, errors) = run(&home, &["classify", CAT, "--json", "--provider", "cuda"]);
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &record["provider"]), (Some(0), &"CPU".into()));
    assert!(errors.contains("runtime install cuda") && errors.contains("CPU is used"), "{errors}");
}

#[test]
fn a_library_without_the_provider_is_told_by_name() {
    let home = home_with("cuda", cpu_only);
    let (code, _, errors) = run(&home, &["classify", CAT, "--require-provider", "cuda"]);
    assert!(code == Some(1) && errors.contains("was built without it"), "{errors}");
    // What is installed is tried by an automatic choice too, and must not stop it.
    let (code, out, errors) = run(&home, &["classify", CAT]);
    assert!(code == Some(0) && out.contains("CPU") && errors.contains("CUDA did not start"), "{out}{errors}");
    let (code, out, _) = run(&home, &["runtime", "doctor"]);
    assert!(code == Some(1) && out.contains("CUDA      does not start"), "{out}");
}

#[test]
fn a_broken_library_leaves_the_others_usable() {
    let home = home_with("openvino", |place| fs::write(place, b"no library").unwrap());
    let (code, out, errors) = run(&home, &["classify", CAT, "--provider", "openvino"]);
    assert!(code == Some(0) && out.contains("CPU"), "{out}{errors}");
    assert!(errors.contains("OpenVINO did not start") && errors.contains("libonnxruntime.so.1"), "{errors}");
}

#[test]
fn options_that_a_provider_does_not_have_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for (option, value, word) in [("--device", "1", "device"), ("--precision", "half", "half precision")] {
        let (code, _, errors) = run(&home, &["classify", CAT, "--require-provider", "cpu", option, value]);
        assert!(code == Some(1) && errors.contains(word), "{errors}");
    }
}

#[test]
fn the_list_tells_what_is_installed_and_removing_removes_it() {
    let home = home_with("cuda", |place| fs::write(place, b"").unwrap());
    let installed = || {
        let (_, out, _) = run(&home, &["runtime", "list", "--json"]);
        let list: Value = serde_json::from_str(&out).unwrap();
        let runtimes = list["runtimes"].as_array().unwrap();
        runtimes.iter().filter(|row| !row["installed"].is_null()).map(|row| row["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(installed(), ["cuda"]);
    assert_eq!(run(&home, &["runtime", "remove", "cuda"]).0, Some(0));
    assert_eq!(installed(), Vec::<Value>::new());
    assert_eq!(run(&home, &["runtime", "install", "gpu"]).0, Some(2));
}

#[test]
fn threads_change_nothing_that_counts() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, errors) = run(&home, &["parity", CAT, "--threads", "1", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    let parity: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&parity["num_flips"], &parity["same_best_class"]), (&0.into(), &true.into()));
    assert!(parity["max_logit_difference"].as_f64().unwrap() < 1e-4, "{parity}");
    assert_eq!(run(&home, &["parity", CAT]).0, Some(2), "nothing to compare with");
}

#[test]
fn the_placement_on_the_cpu_is_whole() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, _) = run(&home, &["placement"]);
    let (first, rest) = out.split_once('\n').unwrap();
    assert_eq!(code, Some(0));
    let counts: usize = rest.lines().map(|row| row.split_whitespace().next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(first.contains(&format!("{counts} of {counts} nodes on CPU")), "{first}");
}
