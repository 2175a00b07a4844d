//! The engine against Python's ONNX Runtime (fixtures/expected.json, made by fixtures/make_models.py), and its faults.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::engine::{
    Engine, EngineError, EngineOptions, Execution, Isolation, LoadRequest, Loaded, ModelHandle, Provider, RunRequest,
    RunResult, Tensor, TensorData,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap()
}

fn load(engine: &Engine, name: &str) -> Result<Loaded, EngineError> {
    engine.load(&LoadRequest::new(fixtures().join("models").join(name), execution()))
}

/// One thread of the CPU.
fn execution() -> Execution {
    Execution { threads: Some(1), ..Execution::on(Provider::Cpu) }
}

fn run(engine: &Engine, model: ModelHandle, inputs: Vec<Tensor>) -> Result<RunResult, EngineError> {
    engine.run(&RunRequest { model, inputs })
}

fn f32s(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor { name: name.into(), shape: shape.into(), data: TensorData::F32(values.into()) }
}

fn i64s(name: &str, shape: &[usize], values: &[i64]) -> Tensor {
    Tensor { name: name.into(), shape: shape.into(), data: TensorData::I64(values.into()) }
}

fn numbers(json: &Value) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The two images that expected.json was made with.
fn images(name: &str) -> Tensor {
    let image = &expected()["image"];
    let values: Vec<f32> = numbers(&image["values"]).iter().map(|&x| x as f32).collect();
    f32s(name, &[2, 3, 8, 8], &values)
}

/// Names, shapes and integers must be equal, floats close.
fn check_outputs(found: &[Tensor], expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (tensor, expected) in found.iter().zip(expected) {
        assert_eq!(tensor.name, expected["name"].as_str().unwrap());
        let shape: Vec<f64> = tensor.shape.iter().map(|&size| size as f64).collect();
        assert_eq!(shape, numbers(&expected["shape"]), "{}", tensor.name);
        let values = numbers(&expected["values"]);
        match &tensor.data {
            TensorData::I64(found) => assert!(found.iter().map(|&x| x as f64).eq(values), "{}", tensor.name),
            TensorData::F32(found) => {
                assert_eq!(found.len(), values.len());
                for (found, expected) in found.iter().zip(values) {
                    assert!((f64::from(*found) - expected).abs() < 1e-5, "{}: {found} {expected}", tensor.name);
                }
            }
        }
    }
}

/// Every test below is run by an engine of this process and by one whose models run apart.
macro_rules! here_and_apart {
    ($($test:ident,)*) => {
        mod here {
            $(#[test] fn $test() { super::$test(&super::Engine::start(super::EngineOptions::default())) })*
        }
        mod apart {
            $(#[test] fn $test() { super::$test(&super::apart()) })*
        }
    };
}

fn apart() -> Engine {
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    Engine::start(EngineOptions { isolation, ..EngineOptions::default() })
}

here_and_apart! {
    outputs_agree_with_pythons_onnx_runtime,
    an_input_with_a_default_may_be_left_out,
    every_number_type_becomes_floats_or_integers,
    inputs_become_the_type_that_the_graph_takes,
    an_output_that_is_no_number_is_left_out,
    inputs_that_do_not_fit_are_told_by_name,
    a_cancelled_run_ends_at_once_and_the_session_stays_usable,
    a_load_can_be_cancelled,
    callers_at_the_same_time_get_their_own_results,
    handles_are_good_until_unloaded,
    a_bad_model_is_named,
}

fn outputs_agree_with_pythons_onnx_runtime(engine: &Engine) {
    let expected = expected();
    let moe = load(engine, "tiny_moe.onnx").unwrap();
    assert_eq!(moe.outputs[0], "logits");
    assert_eq!(moe.outputs.len(), 7);
    for k in [1, 2, 4] {
        let result = run(engine, moe.model, vec![images("pixel_values"), i64s("top_k", &[1], &[k])]).unwrap();
        check_outputs(&result.outputs, &expected["tiny_moe"][k.to_string()]);
        assert!(result.run_secs > 0.0);
    }
    let classifier = load(engine, "tiny_classifier.onnx").unwrap();
    let result = run(engine, classifier.model, vec![images("image")]).unwrap();
    check_outputs(&result.outputs, &expected["tiny_classifier"]);
}

fn an_input_with_a_default_may_be_left_out(engine: &Engine) {
    let moe = load(engine, "tiny_moe.onnx").unwrap();
    let result = run(engine, moe.model, vec![images("pixel_values")]).unwrap();
    check_outputs(&result.outputs, &expected()["tiny_moe_default"]);
}

fn every_number_type_becomes_floats_or_integers(engine: &Engine) {
    let casts = load(engine, "casts.onnx").unwrap();
    let outputs = run(engine, casts.model, vec![f32s("x", &[3], &[0.0, 1.0, 5.5])]).unwrap().outputs;
    assert_eq!(outputs.len(), 10);
    for output in outputs {
        let expected = match output.name.as_str() {
            "float16" | "bfloat16" | "double" => TensorData::F32([0.0, 1.0, 5.5].into()),
            "bool" => TensorData::I64([0, 1, 1].into()),
            _ => TensorData::I64([0, 1, 5].into()),
        };
        assert_eq!(output.data, expected, "{}", output.name);
    }
}

/// Floats become what takes floats, and bytes by rounding; integers what takes integers, held within its range.
fn inputs_become_the_type_that_the_graph_takes(engine: &Engine) {
    let model = load(engine, "feeds.onnx").unwrap().model;
    let floats = ["float", "float16", "bfloat16", "double"].map(|name| f32s(name, &[3], &[-1.5, 0.25, 254.0]));
    let integers = [
        ("int32", [-1, 7, i64::MAX], [-1, 7, i64::from(i32::MAX)]),
        ("int16", [-40_000, 7, 40_000], [-32_768, 7, 32_767]),
        ("int8", [-129, 7, 128], [-128, 7, 127]),
        ("uint16", [-1, 7, 70_000], [0, 7, 65_535]),
        ("uint32", [-1, 7, 1 << 40], [0, 7, (1 << 32) - 1]),
        ("bool", [0, 1, -3], [0, 1, 1]),
    ];
    let bytes = f32s("uint8", &[3], &[-0.4, 127.6, 300.0]);
    let given = integers.iter().map(|(name, given, _)| i64s(name, &[3], given));
    let inputs: Vec<Tensor> = floats.iter().cloned().chain([bytes]).chain(given).collect();
    let outputs = run(engine, model, inputs.clone()).unwrap().outputs;
    let found = |name: &str| &outputs.iter().find(|output| output.name == format!("{name}.out")).unwrap().data;
    for float in &floats {
        assert_eq!(found(&float.name), &float.data, "{}", float.name);
    }
    for (name, _, expected) in integers {
        assert_eq!(found(name), &TensorData::I64(expected.into()), "{name}");
    }
    assert_eq!(found("uint8"), &TensorData::I64([0, 128, 255].into()));

    // What would have to be guessed is refused.
    for (name, wrong) in [("int32", f32s("int32", &[3], &[0.5; 3])), ("float16", i64s("float16", &[3], &[1; 3]))] {
        let inputs = inputs.iter().map(|input| if input.name == name { wrong.clone() } else { input.clone() });
        let told = run(engine, model, inputs.collect()).unwrap_err().to_string();
        assert!(told.contains(&format!("input {name} takes")), "{told}");
    }
}

fn an_output_that_is_no_number_is_left_out(engine: &Engine) {
    let text = load(engine, "text.onnx").unwrap();
    assert_eq!(text.outputs, ["text"]);
    assert!(run(engine, text.model, vec![f32s("x", &[3], &[0.0; 3])]).unwrap().outputs.is_empty());
}

fn inputs_that_do_not_fit_are_told_by_name(engine: &Engine) {
    let moe = load(engine, "tiny_moe.onnx").unwrap().model;
    let image = || images("pixel_values");
    let k = |shape: &[usize], values: &[i64]| i64s("top_k", shape, values);
    let cases = [
        (vec![], "input pixel_values is missing"),
        (vec![images("pixels")], "input pixel_values is missing"),
        (vec![image(), i64s("k", &[1], &[2])], "no input k (its inputs are pixel_values, top_k)"),
        (vec![image(), image()], "given twice"),
        (vec![image(), f32s("top_k", &[1], &[2.0])], "top_k takes i64, not f32"),
        (vec![image(), k(&[2], &[2, 2])], "top_k takes [1], not [2]"),
        (vec![f32s("pixel_values", &[1, 3, 8], &[0.0; 24])], "takes [?, 3, 8, 8], not [1, 3, 8]"),
        (vec![f32s("pixel_values", &[1, 3, 8, 8], &[0.0; 24])], "24 values"),
        (vec![f32s("pixel_values", &[usize::MAX, 3, 8, 8], &[])], "0 values"),
        (vec![image(), k(&[1], &[9])], ""),
    ];
    for (inputs, text) in cases {
        let error = run(engine, moe, inputs).unwrap_err();
        assert!(matches!(&error, EngineError::Run { reason } if reason.contains(text)), "{text:?}: {error}");
    }
    assert!(run(engine, moe, vec![image()]).is_ok(), "the engine goes on after every mistake");
}

fn a_cancelled_run_ends_at_once_and_the_session_stays_usable(engine: &Engine) {
    let counter = load(engine, "loop.onnx").unwrap().model;
    let count = |steps| run(engine, counter, vec![i64s("steps", &[], &[steps]), f32s("start", &[1], &[0.5])]);
    for _ in 0..3 {
        let cancelled_at = thread::scope(|scope| {
            let running = scope.spawn(|| count(i64::MAX));
            let waiting = scope.spawn(|| count(i64::MAX));
            thread::sleep(Duration::from_millis(50));
            let cancelled_at = Instant::now();
            engine.cancel();
            assert_eq!(running.join().unwrap(), Err(EngineError::Cancelled));
            assert_eq!(waiting.join().unwrap(), Err(EngineError::Cancelled));
            cancelled_at
        });
        assert!(cancelled_at.elapsed() < Duration::from_millis(500), "{:?}", cancelled_at.elapsed());
        assert_eq!(count(3).unwrap().outputs[0].data, TensorData::F32([3.5].into()));
    }
    engine.cancel();
    assert!(count(1).is_ok(), "a cancel touches nothing that is asked afterwards");
}

fn a_load_can_be_cancelled(engine: &Engine) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default/moescope-default.onnx");
    let request = LoadRequest::new(model, execution());
    thread::scope(|scope| {
        let loading = scope.spawn(|| engine.load(&request));
        while !loading.is_finished() {
            thread::sleep(Duration::from_millis(1));
            engine.cancel();
        }
        assert_eq!(loading.join().unwrap(), Err(EngineError::Cancelled));
    });
    assert!(engine.load(&request).is_ok());
}

fn callers_at_the_same_time_get_their_own_results(engine: &Engine) {
    let counter = load(engine, "loop.onnx").unwrap().model;
    thread::scope(|scope| {
        for caller in 0..4_u8 {
            scope.spawn(move || {
                for steps in 0..50 {
                    let inputs = vec![i64s("steps", &[], &[steps]), f32s("start", &[1], &[f32::from(caller) * 100.0])];
                    let result = run(engine, counter, inputs).unwrap();
                    let expected = f32::from(caller) * 100.0 + steps as f32;
                    assert_eq!(result.outputs[0].data, TensorData::F32([expected].into()));
                }
            });
        }
    });
}

fn handles_are_good_until_unloaded(engine: &Engine) {
    let first = load(engine, "tiny_classifier.onnx").unwrap().model;
    let second = load(engine, "tiny_classifier.onnx").unwrap().model;
    assert_ne!(first, second);
    engine.unload(first).unwrap();
    assert_eq!(run(engine, first, vec![images("image")]), Err(EngineError::UnknownModel));
    assert!(run(engine, second, vec![images("image")]).is_ok());
}

fn a_bad_model_is_named(engine: &Engine) {
    for name in ["../expected.json", "missing.onnx", ".."] {
        let error = load(engine, name).unwrap_err();
        assert!(matches!(&error, EngineError::Load { model, .. } if model.ends_with(name)), "{error}");
    }
}
