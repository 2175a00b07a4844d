//! The real program, as a script sees it: exit codes, standard output, standard error and files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use ndarray::{ArrayD, Axis};
use ndarray_npy::ReadNpyExt;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn sample(name: &str) -> PathBuf {
    Path::new(ROOT).join("assets/samples").join(name)
}

fn moescope() -> Command {
    Command::new(env!("CARGO_BIN_EXE_moescope"))
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn text_names_the_image_the_best_classes_and_every_layer() {
    let (code, out, errors) = run(moescope().arg("classify").arg(sample("cat.jpg")));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(out.contains("cat.jpg") && out.matches(" % ").count() == 5, "{out}");
    assert!(out.matches("experts in effect").count() >= 4, "{out}");
}

#[test]
fn json_is_consistent_in_itself() {
    let images = [sample("cat.jpg"), sample("rocket.jpg")];
    let (code, out, errors) = run(moescope().arg("classify").args(&images).args(["--json", "--top-k", "3"]));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let records = json_lines(&out);
    assert_eq!(records.len(), images.len());
    for (record, image) in records.iter().zip(&images) {
        assert_eq!(record["schema"], "moescope-classify/1");
        assert_eq!(record["image"].as_str(), image.to_str());
        assert_eq!((&record["top_k"], &record["assumption"]), (&3.into(), &Value::Null));
        check_predictions(&record["predictions"]);
        let layers = record["layers"].as_array().unwrap();
        assert!(layers.len() >= 4);
        layers.iter().for_each(check_layer);
    }
}

fn check_predictions(predictions: &Value) {
    let predictions = predictions.as_array().unwrap();
    let probabilities: Vec<f64> =
        predictions.iter().map(|prediction| prediction["probability"].as_f64().unwrap()).collect();
    assert_eq!(probabilities.len(), 5);
    assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities.iter().sum::<f64>() <= 1.0 + 1e-6);
    assert!(predictions.iter().all(|prediction| !prediction["label"].as_str().unwrap().is_empty()));
}

/// T patches, E experts, k = 3: lengths, ranges and sums.
fn check_layer(layer: &Value) {
    let number = |key: &str| layer[key].as_u64().unwrap() as usize;
    let (num_experts, top_k) = (number("num_experts"), number("top_k"));
    let tokens: usize = floats(&layer["grid"]).iter().product::<f64>() as usize;
    assert_eq!((top_k, tokens), (3, 196));
    let (experts, weights) = (layer["experts"].as_array().unwrap(), layer["weights"].as_array().unwrap());
    assert_eq!((experts.len(), weights.len()), (tokens, tokens));
    let mut load = vec![0.0; num_experts];
    for (ids, weights) in experts.iter().zip(weights) {
        let (ids, weights) = (floats(ids), floats(weights));
        assert_eq!((ids.len(), weights.len()), (top_k, top_k));
        ids.iter().for_each(|&id| load[id as usize] += 1.0);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-5, "combine weights {weights:?}");
        assert!(weights.is_sorted_by(|a, b| a >= b), "the best first: {weights:?}");
    }
    assert_eq!(floats(&layer["load"]), load);
    assert_eq!(load.iter().sum::<f64>() as usize, tokens * top_k);
    for key in ["importance", "gate_mass"] {
        let sums = floats(&layer[key]);
        assert!(sums.len() == num_experts && (sums.iter().sum::<f64>() - tokens as f64).abs() < 1e-2, "{key}");
    }
    let entropy = floats(&layer["gate_entropy"]);
    assert!(entropy.len() == tokens && entropy.iter().all(|h| (0.0..=(num_experts as f64).ln() + 1e-5).contains(h)));
    assert!(floats(&layer["margin"]).iter().all(|margin| (0.0..=1.0).contains(margin)));
    let max_over_mean = load.iter().copied().fold(0.0, f64::max) * num_experts as f64 / (tokens * top_k) as f64;
    let found = layer["metrics"]["load"]["max_over_mean"].as_f64().unwrap();
    assert!((found - max_over_mean).abs() < 1e-9, "{found} {max_over_mean}");
    assert_eq!(
        (&layer["metrics"]["non_finite_values"], &layer["metrics"]["non_finite_tokens"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn dumped_tensors_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("made/by/us");
    let (code, out, _) = run(moescope().arg("classify").arg(sample("cat.jpg")).arg("--json").arg("--dump").arg(&dump));
    assert_eq!(code, Some(0));
    let record = json_lines(&out).remove(0);
    let index: Value = serde_json::from_str(&fs::read_to_string(dump.join("index.json")).unwrap()).unwrap();
    assert_eq!((&index["schema"], &index["top_k"]), (&"moescope-dump/1".into(), &record["top_k"]));
    let tensors = index["tensors"].as_array().unwrap();
    let roles = |role: &str| tensors.iter().filter(|tensor| tensor["role"] == role).count();
    assert_eq!((roles("input"), roles("output")), (2, 1 + 3 * record["layers"].as_array().unwrap().len()));
    for tensor in tensors {
        let path = dump.join(tensor["file"].as_str().unwrap());
        let shape: Vec<usize> = floats(&tensor["shape"]).iter().map(|&dim| dim as usize).collect();
        match tensor["dtype"].as_str().unwrap() {
            "float32" => assert_eq!(read::<f32>(&path).shape(), shape),
            "int64" => assert_eq!(read::<i64>(&path).shape(), shape),
            other => panic!("element type {other}"),
        }
    }
    check_routing_files(&dump, &record);
    let left: Vec<_> = fs::read_dir(&dump).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), tensors.len() + 1, "nothing temporary is left: {left:?}");
}

/// The chosen experts and the best class in the files are the ones that the JSON tells.
fn check_routing_files(dump: &Path, record: &Value) {
    let logits = read::<f32>(&dump.join("logits.npy"));
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    assert_eq!(record["predictions"][0]["index"], best);
    let mut files: Vec<PathBuf> = fs::read_dir(dump).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with("expert_ids.npy"));
    files.sort();
    let layers = record["layers"].as_array().unwrap();
    assert_eq!(files.len(), layers.len());
    for (file, layer) in files.iter().zip(layers) {
        let ids = read::<i64>(file);
        let rows: Vec<Vec<i64>> = ids.axis_iter(Axis(0)).map(|row| row.iter().copied().collect()).collect();
        assert_eq!(layer["experts"], serde_json::to_value(rows).unwrap());
    }
}

fn read<T: ndarray_npy::ReadableElement>(path: &Path) -> ArrayD<T> {
    ArrayD::read_npy(File::open(path).unwrap()).unwrap()
}

#[test]
fn several_images_are_dumped_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let images = [sample("cat.jpg"), sample("cat.jpg")];
    let (code, _, _) = run(moescope().arg("classify").args(images).arg("--dump").arg(folder.path()));
    assert_eq!(code, Some(0));
    for name in ["cat", "cat-2"] {
        assert!(folder.path().join(name).join("index.json").is_file(), "{name}");
    }
}

#[test]
fn inputs_that_fail_are_named_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let photo = fs::read(sample("cat.jpg")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let bad = [
        folder.path().join("missing.jpg"),
        folder.path().to_path_buf(),
        file("truncated.jpg", &photo[..photo.len() / 2]),
        file("empty.png", b""),
        file("text.jpg", b"This is no image, whatever its name says."),
    ];
    let good = sample("cat.jpg");
    let mut command = moescope();
    command.args(["classify", "--json"]).args(&bad[..3]).arg(&good).args(&bad[3..]);
    let (code, out, errors) = run(&mut command);
    assert_eq!(code, Some(1), "{errors}");
    let records = json_lines(&out);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["image"].as_str(), good.to_str());
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), bad.len(), "one line each: {errors}");
    for (line, path) in lines.iter().zip(&bad) {
        assert!(line.starts_with(&format!("moescope: {}: ", path.display())), "{line}");
    }
}

/// A third party's file: nothing in it names a router, and what ONNX Runtime's own operator chose has to be computed again.
#[test]
fn a_mixture_without_a_card_is_classified_with_its_routing() {
    let classify = |row: &str, top_k: &[&str]| {
        let model = Path::new(ROOT).join("models/zoo/rows").join(row).join("model.onnx");
        let mut command = moescope();
        command.arg("classify").arg(sample("cat.jpg")).arg("--model").arg(&model).args(top_k).arg("--json");
        let (code, out, errors) = run(&mut command);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{row}");
        json_lines(&out).remove(0)
    };
    let sizes = |record: &Value| {
        let patches = record["layers"][0]["experts"].as_array().unwrap();
        (patches.len(), patches[0].as_array().unwrap().len())
    };
    let mixtral = classify("mixtral", &[]);
    assert_eq!((sizes(&mixtral), &mixtral["layers"][0]["grid"]), ((16, 2), &serde_json::json!([4, 4])));
    assert_eq!(mixtral["layers"][0]["recomputed"], serde_json::json!(["gate_probs"]));
    assert_eq!(sizes(&classify("mixtral", &["--top-k", "5"])), (16, 5));
    let operator = classify("contrib-moe-swiglu", &[]);
    assert_eq!(operator["layers"][0]["recomputed"], serde_json::json!(["gate_probs", "experts", "weights"]));
    let switch = classify("switch", &[]);
    assert!(switch["layers"][0]["metrics"]["dropped"].is_u64(), "{switch}");
}

#[test]
fn a_changed_routing_is_recorded_and_said() {
    let classify = |more: &[&str]| {
        let (code, out, errors) = run(moescope().arg("classify").arg(sample("cat.jpg")).args(more));
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{more:?}");
        out
    };
    let record = |more: &[&str]| json_lines(&classify(&[&["--json"], more].concat())).remove(0);
    let plain = record(&[]);
    assert_eq!(plain["routing_change"], serde_json::json!([]));
    let changed = record(&["--ban", "2:3,3:0", "--ban", "2:5", "--drop-rank", "4:2"]);
    let layers = |at: usize, banned: &[u32], ranks: &[u32]| {
        let name = &plain["layers"][at]["name"];
        serde_json::json!({"layer": at + 1, "name": name, "banned": banned, "ranks_left_out": ranks})
    };
    let expected = serde_json::json!([layers(1, &[3, 5], &[]), layers(2, &[0], &[]), layers(3, &[], &[2])]);
    assert_eq!(changed["routing_change"], expected);
    let load = |layer: usize| floats(&changed["layers"][layer]["load"]);
    assert_eq!((load(1)[3], load(1)[5], load(2)[0]), (0.0, 0.0, 0.0));
    assert_eq!(changed["layers"][3]["metrics"]["dropped"], 196, "each patch has lost its second expert");
    assert_eq!(changed["layers"][0], plain["layers"][0]);
    assert_ne!(changed["predictions"], plain["predictions"]);
    let name = plain["layers"][1]["name"].as_str().unwrap();
    let text = classify(&["--ban", &format!("{name}:3")]);
    assert!(text.contains("Changed routing: expert 3 banned in layer 2; not what the model does by itself"), "{text}");
    assert!(!classify(&[]).contains("Changed"));
}

#[test]
fn a_control_that_was_not_proved_is_a_failure_with_the_reason() {
    let model = Path::new(ROOT).join("models/zoo/rows/contrib-moe/model.onnx");
    let (code, out, errors) =
        run(moescope().arg("classify").arg(sample("cat.jpg")).arg("--model").arg(&model).args(["--ban", "1:0"]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(errors.contains("MoE operator"), "{errors}");
}

#[test]
fn a_classifier_without_card_or_routers_still_classifies() {
    let model = Path::new(ROOT).join("tests/fixtures/models/tiny_classifier.onnx");
    let mut command = moescope();
    command.arg("classify").arg(sample("cat.jpg")).arg("--model").arg(&model);
    let (code, out, errors) = run(command.arg("--json"));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let record = json_lines(&out).remove(0);
    let assumption = record["assumption"].as_str().unwrap();
    assert!(assumption.contains("has no card"), "{record}");
    assert_eq!(assumption.matches("ImageNet's mean and deviation").count(), 1, "{assumption}");
    assert_eq!((&record["layers"], &record["top_k"]), (&Value::Array(vec![]), &Value::Null));
    let best = &record["predictions"][0];
    assert_eq!(best["label"], format!("class {}", best["index"]));
    let (code, _, errors) = run(command.args(["--top-k", "2"]));
    assert!(code == Some(2) && errors.contains("no top_k input"), "{errors}");
}

#[test]
fn a_model_or_library_that_cannot_be_used_is_named() {
    for (flag, file, words) in [
        ("--model", "Cargo.toml", "is not an ONNX model"),
        ("--model", "no/such/model.onnx", "does not exist"),
        ("--ort-library", "no/such/library.so", "does not exist"),
        ("--ort-library", "Cargo.toml", "ONNX Runtime is not available"),
    ] {
        let (code, out, errors) =
            run(moescope().current_dir(ROOT).arg("classify").arg(sample("cat.jpg")).args([flag, file]));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{flag} {file}");
        assert!(errors.contains(file) && errors.contains(words) && errors.lines().count() == 1, "{errors}");
    }
}

#[test]
fn a_command_line_that_cannot_be_is_usage() {
    let cat = sample("cat.jpg");
    let cat = cat.to_str().unwrap();
    for (line, words) in [
        (&["classify"][..], "required"),
        (&["classify", cat, "--top-k", "0"], "--top-k"),
        (&["classify", cat, "--top-k", "9999"], "top-k must be between 1 and"),
        (&["classify", cat, "--threads", "none"], "--threads"),
        (&["classify", cat, "--ban", "2"], "such as 2:3"),
        (&["classify", cat, "--ban", "9:0"], "there is no layer 9"),
        (&["classify", cat, "--ban", "2:8"], "there is no expert 8"),
        (&["classify", cat, "--drop-rank", "2:0"], "counted from 1"),
        (&["classify", cat, "--drop-rank", "2:1,2:2"], "keep one"),
        (&["classify", cat, "--colour"], "--colour"),
        (&["bench", "--runs", "0"], "--runs"),
    ] {
        let (code, out, errors) = run(moescope().args(line));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line:?}: {errors}");
        assert!(errors.contains(words), "{line:?}: {errors}");
    }
}

#[test]
fn tensors_that_may_be_gates_are_listed_and_searched() {
    let inspect = |words: &[&str]| {
        let model = Path::new(ROOT).join("models/zoo/rows/mixtral/model.onnx");
        let (code, out, errors) = run(moescope().arg("inspect").arg(model).arg("--tensors").args(words));
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        out
    };
    let all = json_lines(&inspect(&["--json"])).remove(0);
    let gates = all["gate_tensors"].as_array().unwrap();
    assert!(gates.len() > 50, "{}", gates.len());
    let first: Vec<&str> = gates.iter().take(4).map(|gate| gate["path"].as_str().unwrap()).collect();
    for gate in ["/blocks.1/mlp/router/gate/MatMul_output_0", "/blocks.0/mlp/router/gate/MatMul_output_0"] {
        assert!(first.contains(&gate), "{first:?}");
    }
    let found = gates.iter().find(|gate| gate["path"] == "/blocks.1/mlp/router/gate/MatMul_output_0").unwrap();
    assert_eq!((&found["values"], &found["rule"]), (&"logits".into(), &"top_k_then_softmax".into()));
    assert_eq!((&found["num_experts"], &found["top_k"]), (&8.into(), &2.into()));
    let meant = inspect(&["blocks.1 router gate"]);
    assert!(meant.contains(
        "/blocks.1/mlp/router/gate/MatMul_output_0\n  float32 [16, 8]: logits of top-k, then softmax, k = 2"
    ));
    assert!(!meant.contains("/blocks.0/") && !meant.contains("parameters by part"), "{meant}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = moescope();
    command.arg("classify").args([sample("cat.jpg"), sample("rocket.jpg")]).arg("--json");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn bench_reports_every_stage() {
    let (code, out, errors) = run(moescope().args(["bench", "--json", "--runs", "2"]));
    assert_eq!(code, Some(0), "{errors}");
    let report = json_lines(&out).remove(0);
    assert_eq!(report["schema"], "moescope-bench/1");
    for stage in ["decode", "preprocess", "inference", "statistics", "total"] {
        let timing = &report["stages"][stage];
        let (median, fastest) = (timing["median"].as_f64().unwrap(), timing["min"].as_f64().unwrap());
        assert!(0.0 < fastest && fastest <= median, "{stage}: {timing}");
        assert_eq!(floats(&timing["samples"]).len(), 2, "{stage}");
    }
    assert_eq!(report["inference_by_top_k"].as_object().unwrap().len(), 2);
}

#[cfg(feature = "gui")]
mod render {
    use super::*;

    #[test]
    fn every_view_is_drawn_at_the_size_of_the_photo() {
        let folder = tempfile::tempdir().unwrap();
        let photo = image::open(sample("cat.jpg")).unwrap();
        let mut pictures = Vec::new();
        for (name, view) in [
            ("chosen.png", &["--layer", "1"][..]),
            ("second.png", &["--layer", "1", "--rank", "2"]),
            ("expert.png", &["--layer", "1", "--expert", "0"]),
            ("entropy.png", &["--layer", "1", "--entropy"]),
            ("margin.png", &["--layer", "1", "--margin"]),
        ] {
            let out = folder.path().join(name);
            let (code, text, errors) =
                run(moescope().arg("render").arg(sample("cat.jpg")).arg("--out").arg(&out).args(view));
            // Graphics drivers write to standard error as they like.
            assert_eq!((code, text.as_str()), (Some(0), ""), "{name}: {errors}");
            let picture = image::open(&out).unwrap().to_rgba8();
            assert_eq!(picture.dimensions(), (photo.width(), photo.height()), "{name}");
            pictures.push(picture);
        }
        for (index, picture) in pictures.iter().enumerate() {
            assert!(!pictures[..index].contains(picture), "view {index} looks like another one");
        }
    }

    #[test]
    fn a_view_that_the_model_does_not_have_is_usage() {
        let out = tempfile::tempdir().unwrap().path().join("picture.png");
        for (view, words) in [
            (&["--layer", "99"][..], "--layer 99 is not one of 1 ("),
            (&["--layer", "1", "--expert", "99"], "the experts 0 to"),
            (&["--layer", "1", "--top-k", "2", "--rank", "3"], "beyond the top-k 2"),
            (&["--layer", "1", "--entropy", "--margin"], "cannot be used with"),
        ] {
            let (code, _, errors) =
                run(moescope().arg("render").arg(sample("cat.jpg")).arg("--out").arg(&out).args(view));
            assert!(code == Some(2) && errors.contains(words), "{view:?}: {errors}");
            assert!(!out.exists());
        }
    }
}
