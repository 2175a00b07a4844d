//! Weights in other files: a model could name any file.

use super::builder::{branches, call, function, graph, model, model_with, node, plain_branch, refusal, tensor, write};
use moescope::engine::{Engine, EngineOptions, Execution, Isolation, LoadRequest};
use moescope::model::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto};
use moescope::model::{ModelError, read_model};
use prost::Message;
use std::fs;

/// A model whose weight w lies in another file.
fn external(location: &str, offset: &str, length: Option<&str>) -> ModelProto {
    let entry = |(key, value): (&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
    let entries =
        [("location", location), ("offset", offset)].into_iter().chain(length.map(|length| ("length", length)));
    let weight = TensorProto {
        raw_data: None,
        data_location: Some(TensorProto::EXTERNAL),
        external_data: entries.map(entry).collect(),
        ..tensor("w", &[2, 2])
    };
    model_with(vec![node("Add", &["x", "w"], &["y"])], vec![weight])
}

#[test]
fn weights_beside_the_model_are_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("w.bin"), [0; 20]).unwrap();
    fs::write(folder.path().join("sub/w.bin"), [0; 16]).unwrap();
    for (location, offset, length) in
        [("w.bin", "0", Some("16")), ("w.bin", "4", None), ("./w.bin", "0", Some("0")), ("sub/w.bin", "0", None)]
    {
        let read = read_model(&write(folder.path(), &external(location, offset, length)));
        assert_eq!(read.unwrap().external_files, [folder.path().join(location)], "{location}");
    }
}

#[test]
fn weights_in_files_that_are_not_the_models_own_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir_all(folder.join("folder")).unwrap();
    fs::write(root.path().join("secret"), [0; 64]).unwrap();
    fs::write(folder.join("w.bin"), [0; 20]).unwrap();
    fs::hard_link(root.path().join("secret"), folder.join("hard")).unwrap();
    let absolute = folder.join("w.bin").to_str().unwrap().to_owned();
    let mut cases = vec![
        ("../secret", "0", None, "is not inside of the model's folder. Put it beside"),
        ("folder/../w.bin", "0", None, "is not inside of the model's folder"),
        (&absolute, "0", None, "is not inside of the model's folder"),
        ("*/_ORT_MEM_ADDR_/*", "4096", Some("16"), "is not inside of the model's folder"),
        ("", "0", None, "but gives no name"),
        ("none.bin", "0", None, "which is missing. Put it into the folder"),
        ("w.bin/w.bin", "0", None, "which is missing"),
        ("w.bin\0", "0", None, "cannot be read"),
        ("folder", "0", None, "not a regular file"),
        ("w.bin", "5", None, "too short: 16 bytes from byte 5 on are needed, and it has 20. Get the file again"),
        ("w.bin", "0", Some("21"), "too short: 21 bytes"),
        ("w.bin", "18446744073709551615", None, "too short"),
        ("w.bin", "-4", None, "the offset there is \"-4\", not a number"),
        ("w.bin", "0", Some("all"), "the length there is \"all\""),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(root.path().join("secret"), folder.join("out")).unwrap();
        symlink("w.bin", folder.join("in")).unwrap();
        symlink(root.path(), folder.join("up")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(folder.join("fifo")).status().unwrap();
        assert!(fifo.success());
        cases.extend([
            ("hard", "0", None, "a hard link: the same file has other names elsewhere. Put a copy of it there"),
            ("out", "0", None, "a symbolic link and may lead anywhere"),
            ("in", "0", None, "a symbolic link"),
            ("zero", "0", None, "a symbolic link"),
            ("up/secret", "0", None, "not inside of the model's folder"),
            ("fifo", "0", None, "not a regular file"),
        ]);
    }
    for (location, offset, length, text) in cases {
        let error = read_model(&write(&folder, &external(location, offset, length))).unwrap_err();
        assert!(matches!(error, ModelError::External { .. }), "{location}: {error}");
        let error = error.to_string();
        assert!(error.contains("keeps the values of \"w\" in the file") && error.contains(text), "{location}: {error}");
    }
}

#[test]
fn a_missing_file_is_offered_to_be_put_only_where_that_is_safe() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("file"), [0; 4]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path(), folder.join("up")).unwrap();
    for (location, offered) in [
        ("none.bin", true),
        ("sub/none.bin", true),
        ("other/none.bin", false),
        ("file/none.bin", false),
        ("up/none.bin", false),
        (".profile", false),
        ("../none.bin", false),
        ("/none.bin", false),
    ] {
        let error = read_model(&write(&folder, &external(location, "0", None))).unwrap_err();
        let place = offered.then(|| folder.join(location));
        assert_eq!(error.missing_file(), place, "{location}: {error}");
    }
}

#[test]
fn weights_are_looked_for_wherever_a_tensor_can_be() {
    let weight = external("../secret", "0", None).graph.unwrap().initializer.remove(0);
    let attribute = AttributeProto { name: "value".into(), r#type: 4, t: Some(weight.clone()), ..Default::default() };
    let constant = NodeProto { attribute: vec![attribute], ..node("Constant", &[], &["o"]) };
    let branch = graph(vec![constant.clone()], "o");
    let in_function =
        ModelProto { functions: vec![function("f", vec![constant.clone()])], ..model(vec![call("f", "x", "y")]) };
    let branch_weight = GraphProto { initializer: vec![weight], ..plain_branch() };
    for (name, model) in [
        ("an attribute", model(vec![constant])),
        ("a branch", model(vec![branches(branch, plain_branch())])),
        ("a function", in_function),
        ("a weight of a branch", model(vec![branches(plain_branch(), branch_weight)])),
    ] {
        assert!(refusal(name, &model).contains("not inside of the model's folder"), "{name}");
    }
}

/// Hugging Face's cache: names that are links to files side by side in another folder, which a worker may read as well.
#[cfg(unix)]
#[test]
fn a_model_and_weights_that_are_both_links_are_read() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let [blobs, names] = ["blobs", "snapshots/1a2b/onnx"].map(|name| root.path().join(name));
    fs::create_dir(&blobs).unwrap();
    fs::create_dir_all(&names).unwrap();
    fs::write(blobs.join("1f2e"), external("model.onnx_data", "0", None).encode_to_vec()).unwrap();
    fs::write(blobs.join("3d4c"), [0; 16]).unwrap();
    symlink("../../../blobs/1f2e", names.join("model.onnx")).unwrap();
    symlink("../../../blobs/3d4c", names.join("model.onnx_data")).unwrap();
    let path = names.join("model.onnx");
    assert_eq!(read_model(&path).unwrap().external_files, [names.join("model.onnx_data")]);
    for isolation in [Isolation::Off, Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() }] {
        let engine = Engine::start(EngineOptions { isolation, ..EngineOptions::default() });
        engine.load(&LoadRequest::new(&path, Execution::default())).unwrap();
    }
}
