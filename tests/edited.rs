//! Models that are loaded edited, with their files untouched: in both isolation modes, wherever their weights lie, and
//! again after their worker has ended.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use bytes::Bytes;
use moescope::engine::{
    EditedModel, Engine, EngineError, EngineOptions, Execution, Isolation, Limits, LoadRequest, ModelHandle, Provider,
    RunRequest, Tensor, TensorData,
};
use moescope::model::graph::ModelGraph;
use moescope::model::proto::{ModelProto, StringStringEntryProto, TensorProto};
use moescope::model::routers::{TensorRef, find_routers};
use moescope::model::{decode_model, expose, map_file};
use prost::Message;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn engines(limits: Limits) -> [Engine; 2] {
    let apart = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    [Isolation::Off, apart].map(|isolation| Engine::start(EngineOptions { isolation, limits, ..Default::default() }))
}

fn load(engine: &Engine, model: &Path, edited: Option<&Bytes>) -> Result<ModelHandle, EngineError> {
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let edited = edited.map(|bytes| EditedModel(bytes.clone()));
    engine.load(&LoadRequest { edited, ..LoadRequest::new(model, execution) }).map(|loaded| loaded.model)
}

fn decoded(path: &Path) -> (Bytes, ModelProto) {
    let file = map_file(path).unwrap();
    let model = decode_model(path, &file).unwrap();
    (file, model)
}

/// A row of the zoo in a folder of its own; with its weights of at least so many bytes in another file there.
fn placed(folder: &Path, external_from: Option<usize>) -> PathBuf {
    let (_, mut model) = decoded(&root().join("models/zoo/rows/mixtral/model.onnx"));
    let mut weights = Vec::new();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let large = external_from.is_some_and(|bytes| tensor.raw_data.as_ref().is_some_and(|raw| raw.len() >= bytes));
        if !large {
            continue;
        }
        let raw = tensor.raw_data.take().unwrap();
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", "weights.bin".into()),
            entry("offset", weights.len().to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(TensorProto::EXTERNAL);
        weights.extend_from_slice(&raw);
    }
    if external_from.is_some() {
        assert!(!weights.is_empty());
        fs::write(folder.join("weights.bin"), weights).unwrap();
    }
    let path = folder.join("a model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

fn pixels() -> Tensor {
    let values = (0..3 * 32 * 32).map(|i| (i % 255) as f32 / 128.0 - 1.0).collect();
    Tensor { name: "pixel_values".into(), shape: vec![1, 3, 32, 32], data: TensorData::F32(values) }
}

/// The routers' choices as more outputs.
fn shown(path: &Path) -> Bytes {
    let (file, model) = decoded(path);
    let report = find_routers(&ModelGraph::new(&model).unwrap());
    let ids: Vec<&TensorRef> = report.routers.iter().filter_map(|router| router.tensors.expert_ids.as_ref()).collect();
    assert_eq!(ids.len(), 2);
    expose(&model, &file, path, &ids).unwrap().model.encode_to_vec().into()
}

#[test]
fn wherever_the_weights_lie_and_whatever_the_isolation() {
    let engines = engines(Limits::default());
    // In the file; the large ones beside it; all of them beside it, small ones too.
    for external_from in [None, Some(1024), Some(1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = placed(folder.path(), external_from);
        let before: Vec<PathBuf> = files(folder.path());
        let edited = shown(&path);
        for engine in &engines {
            let run = |edited| {
                let model = load(engine, &path, edited).unwrap();
                let outputs = engine.run(&RunRequest { model, inputs: vec![pixels()] }).unwrap().outputs;
                engine.unload(model).unwrap();
                outputs
            };
            let (plain, more) = (run(None), run(Some(&edited)));
            assert_eq!((plain.len(), more.len()), (1, 3), "{external_from:?}");
            assert_eq!(plain[0], more[0]);
        }
        assert_eq!(files(folder.path()), before, "nothing is written beside a model");
    }
}

/// A download cache: the model and its weights are links to files with other names, side by side in another folder.
#[test]
#[cfg(unix)]
fn through_links() {
    let engines = engines(Limits::default());
    for external_from in [None, Some(1024)] {
        let folder = tempfile::tempdir().unwrap();
        let (blobs, snapshot) = (folder.path().join("blobs"), folder.path().join("snapshots/1"));
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(&snapshot).unwrap();
        let path = placed(&blobs, external_from);
        for (file, blob) in files(&blobs).into_iter().zip(["3f8a", "91c0"]) {
            std::os::unix::fs::symlink(blobs.join(blob), snapshot.join(file.file_name().unwrap())).unwrap();
            fs::rename(file, blobs.join(blob)).unwrap();
        }
        let link = snapshot.join(path.file_name().unwrap());
        let edited = shown(&link);
        for engine in &engines {
            let model = load(engine, &link, Some(&edited)).unwrap();
            let outputs = engine.run(&RunRequest { model, inputs: vec![pixels()] }).unwrap().outputs;
            assert_eq!(outputs.len(), 3);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Counts in steps of two where the file counts in steps of one.
fn by_twos(path: &Path) -> Bytes {
    let (_, mut model) = decoded(path);
    let graph = model.graph.as_mut().unwrap();
    let one = graph.initializer.iter_mut().find(|tensor| tensor.name == "one").unwrap();
    (one.raw_data, one.float_data) = (None, vec![2.0]);
    model.encode_to_vec().into()
}

fn count(engine: &Engine, model: ModelHandle, steps: i64) -> Result<TensorData, EngineError> {
    let tensor = |name: &str, shape: &[usize], data| Tensor { name: name.into(), shape: shape.into(), data };
    let inputs = vec![
        tensor("steps", &[], TensorData::I64([steps].into())),
        tensor("start", &[1], TensorData::F32([0.5].into())),
    ];
    Ok(engine.run(&RunRequest { model, inputs })?.outputs.remove(0).data)
}

#[test]
fn a_new_worker_has_the_edited_model_again() {
    let [_, engine] = engines(Limits { run: Duration::from_millis(300), ..Limits::default() });
    let path = root().join("tests/fixtures/models/loop.onnx");
    let model = load(&engine, &path, Some(&by_twos(&path))).unwrap();
    assert_eq!(count(&engine, model, 3), Ok(TensorData::F32([6.5].into())));
    assert!(matches!(count(&engine, model, i64::MAX), Err(EngineError::Deadline { .. })));
    assert_eq!(count(&engine, model, 2), Ok(TensorData::F32([4.5].into())));
}

#[test]
fn an_edited_model_that_onnx_runtime_refuses_is_named_by_its_file() {
    let path = root().join("tests/fixtures/models/loop.onnx");
    for engine in engines(Limits::default()) {
        let error = load(&engine, &path, Some(&Bytes::from_static(b"no model"))).unwrap_err();
        assert!(matches!(&error, EngineError::Load { model, .. } if model == &path), "{error}");
    }
}
