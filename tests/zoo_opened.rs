//! Every row of models/zoo opened as a person opens it: without a card, its routers found and shown. What is read of them
//! is what PyTorch recorded, token by token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

#[path = "zoo/choices.rs"]
mod choices;
#[path = "zoo/row.rs"]
mod row;

use choices::{Choices, recorded};
use moescope::analysis::{LayerSource, OpenModel, TokenCount, analyse};
use moescope::engine::{Engine, EngineOptions, Execution, Provider, RunRequest, RunResult, TensorData};
use moescope::input::{DecodedImage, ImageSource, preprocess};
use moescope::model::geometry::{PlacedGate, gates};
use moescope::model::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use moescope::model::routers::{GateValues, GatingRule, Router, RouterReport, routers_of};
use moescope::model::{LayerCard, ModelDescription, decode_model, map_file};
use moescope::report::save_card;
use moescope::routing::{LayerRouting, PatchIdx, SlotWeight};
use prost::Message;
use row::{Row, rows};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far combine weights may differ from PyTorch's.
const TOLERANCE: f64 = 1e-5;

/// A row's model; where it does not open, or hides its routing, that is a fault.
fn opened(engine: &Engine, row: &Row, path: &Path, faults: &mut Vec<String>) -> Option<OpenModel> {
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let model =
        OpenModel::open(engine, path, &execution).map_err(|error| faults.push(format!("{}: {error}", row.name)));
    let model = model.ok()?;
    if let Some(reason) = &model.hidden_routing {
        faults.push(format!("{}: hidden, {reason}", row.name));
    }
    Some(model)
}

fn routings(model: &OpenModel, run: &RunResult) -> Result<Vec<LayerRouting>, String> {
    let mut routings = Vec::new();
    for layer in &model.layers {
        let LayerSource::Read(recipe) = &layer.source else { return Err("a layer was not found but declared".into()) };
        // All images of a batch together, as PyTorch recorded them.
        let tokens = TokenCount { per_image: None, batch: 1 };
        routings.extend(recipe.read(run, tokens).map_err(|error| format!("{}: {error}", recipe.name))?);
    }
    Ok(routings)
}

/// What differs between what was read and what was recorded; nothing where all is well.
fn difference(row: &Row, unordered: bool, found: &LayerRouting, expected: &[Choices]) -> Option<String> {
    if found.num_tokens() != expected.len() {
        return Some(format!("{} tokens, not {}", found.num_tokens(), expected.len()));
    }
    let agrees = |(patch, expected): (PatchIdx, &Choices)| {
        let ids = found.experts_of(patch).iter().map(|expert| expert.0 as usize);
        let weights = found.weights_of(patch).iter().map(|&weight| f64::from(weight));
        let (mut found, mut expected): (Choices, _) = (ids.zip(weights).collect(), expected.clone());
        if unordered {
            found.sort_by_key(|(expert, _)| *expert);
            expected.sort_by_key(|(expert, _)| *expert);
        }
        let tolerance = row.tolerance().unwrap_or(TOLERANCE);
        let alike = |(a, b): (&(usize, f64), &(usize, f64))| a.0 == b.0 && (a.1 - b.1).abs() <= tolerance;
        found.len() == expected.len() && found.iter().zip(&expected).all(alike)
    };
    let wrong = found.patches().zip(expected).filter(|&pair| !agrees(pair)).count();
    // Where another number format rounds, close choices may differ.
    let allowed = if row.tolerance().is_some() { expected.len() / 5 } else { 0 };
    let first = found.patches().zip(expected).find(|&pair| !agrees(pair));
    let told = first.map(|(patch, expected)| {
        format!("token {}: {:?} {:?}, not {expected:?}", patch.0, found.experts_of(patch), found.weights_of(patch))
    });
    (wrong > allowed).then(|| format!("{wrong} of {} tokens; {}", expected.len(), told.unwrap_or_default()))
}

/// Runs the model as the window would, on a small picture, with every k that it offers.
fn every_top_k(engine: &Engine, model: &OpenModel) -> Result<usize, String> {
    let rgba = (0..64 * 48 * 4).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let image = DecodedImage { source: ImageSource::Clipboard(0), width: 64, height: 48, rgba };
    let tensor = preprocess(&image, &model.card.input).map_err(|error| error.to_string())?;
    let Some(card) = &model.card.top_k else { return Ok(0) };
    for top_k in card.min..=card.max {
        let analysis = analyse(engine, model, &Arc::new(image.clone()), &tensor, Some(top_k));
        let analysis = analysis.map_err(|error| format!("at k = {top_k}: {error}"))?;
        let chosen = |layer: &LayerRouting| layer.patches().map(|patch| with_weight(layer, patch)).max();
        let most = analysis.trace.layers.iter().filter_map(chosen).max();
        // Both heads of product keys choose k.
        let heads = if model.layers[0].card.rule == Some(GatingRule::ProductKey) { 2 } else { 1 };
        if most != Some(top_k * heads) {
            return Err(format!("at k = {top_k} a token has {most:?} experts"));
        }
    }
    Ok(card.max)
}

fn with_weight(layer: &LayerRouting, patch: PatchIdx) -> usize {
    layer.weights_of(patch).iter().filter(|&&weight| weight != 0.0).count()
}

#[test]
fn what_is_shown_of_every_row_is_what_pytorch_recorded() {
    let engine = Engine::start(EngineOptions::default());
    let (mut faults, mut compared, mut changeable) = (Vec::new(), 0, 0);
    for row in rows().iter().filter(|row| !row.is_random() && !row.routers().is_empty()) {
        let Some(model) = opened(&engine, row, &row.model_path(), &mut faults) else { continue };
        let mut golden = row.golden();
        for input in row.comparable_inputs() {
            let inputs = golden.inputs(input);
            let run = engine.run(&RunRequest { model: model.handle, inputs }).unwrap();
            let found = match routings(&model, &run) {
                Ok(found) => found,
                Err(fault) => {
                    faults.push(format!("{}: {fault}", row.name));
                    continue;
                }
            };
            if found.len() != row.routers().len() {
                faults.push(format!("{}: {} layers, not {}", row.name, found.len(), row.routers().len()));
            }
            for (router, (found, truth)) in found.iter().zip(row.routers()).enumerate() {
                let Some(expected) = recorded(&mut golden, [input, router], truth) else { continue };
                compared += 1;
                if let Some(fault) = difference(row, truth["unordered"] == true, found, &expected) {
                    faults.push(format!("{} {} input {input}: {fault}", row.name, found.name()));
                }
            }
        }
        match every_top_k(&engine, &model) {
            Ok(most) => changeable += usize::from(most > 1),
            Err(fault) => faults.push(format!("{}: {fault}", row.name)),
        }
        engine.unload(model.handle).unwrap();
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(compared >= 300, "only {compared} compared");
    assert!(changeable >= 40, "k can be changed in {changeable} rows only");
}

/// Rules whose choice and weights follow from the gate alone.
fn follows_from_the_gate(truth: &Value) -> bool {
    let rule: Option<GatingRule> = serde_json::from_value(truth["rule"].clone()).ok();
    let extras = ["groups", "scale", "capacity", "inner_rule"];
    rule.is_some_and(|rule| LayerCard::RULES.contains(&rule) && rule != GatingRule::ArgMax)
        && extras.iter().all(|extra| truth[extra].is_null())
        && truth["selection_bias"] == false
}

/// The layer that a person would choose for a router, from the list that knows nothing of the finder's: its logits where
/// `of_logits`, else its probabilities.
fn by_hand(list: &[PlacedGate], router: &Router, truth: &Value, of_logits: bool) -> Option<LayerCard> {
    let tensors = &router.tensors;
    let tensor = if of_logits { tensors.gate_logits.as_ref()? } else { tensors.gate_probs.as_ref()? };
    let is_same =
        |placed: &&PlacedGate| (&placed.gate.tensor.name, &placed.gate.tensor.place) == (&tensor.name, &tensor.place);
    let placed = list.iter().find(is_same)?;
    let mut layer = placed.layer();
    layer.set_gate(&placed.path, if of_logits { GateValues::Logits } else { GateValues::Probabilities });
    layer.rule = Some(serde_json::from_value(truth["rule"].clone()).unwrap());
    layer.top_k = truth["top_k"].as_u64().map(|k| k as usize);
    Some(layer)
}

/// A copy of a row's model with a card beside it whose layers were all chosen by hand; `None` where a router cannot be.
fn chosen_by_hand(row: &Row, of_logits: bool) -> Option<(tempfile::TempDir, PathBuf)> {
    let path = row.model_path();
    let file = map_file(&path).unwrap();
    let model = decode_model(&path, &file).unwrap();
    let report = routers_of(&model);
    let description = ModelDescription::of(&path, file.len() as u64, &model);
    let (mut card, ..) = description.card_or_guess(&model, &report).unwrap();
    let list = gates(&model, &card, &RouterReport::default()).unwrap();
    let layers = report.routers.iter().zip(row.routers());
    card.layers = layers.map(|(router, truth)| by_hand(&list, router, truth, of_logits)).collect::<Option<_>>()?;
    card.top_k = None;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model.onnx");
    fs::copy(&path, &copy).unwrap();
    save_card(&ModelDescription { path: copy.clone(), ..description }, &card).unwrap();
    Some((folder, copy))
}

#[test]
fn tensors_that_a_person_chooses_give_what_pytorch_recorded() {
    let engine = Engine::start(EngineOptions::default());
    let (mut faults, mut compared) = (Vec::new(), [0, 0]);
    let all = rows();
    let rows = all
        .iter()
        .filter(|row| !row.is_random() && !row.routers().is_empty() && row.routers().iter().all(follows_from_the_gate));
    for (row, of_logits) in rows.flat_map(|row| [(row, true), (row, false)]) {
        let Some((_folder, copy)) = chosen_by_hand(row, of_logits) else { continue };
        let Some(model) = opened(&engine, row, &copy, &mut faults) else { continue };
        if model.hidden_routing.is_some() {
            continue;
        }
        assert!(model.layers.iter().all(|layer| layer.recomputed().choices), "{}", row.name);
        let mut golden = row.golden();
        for input in row.comparable_inputs() {
            let run = engine.run(&RunRequest { model: model.handle, inputs: golden.inputs(input) }).unwrap();
            let found = match routings(&model, &run) {
                Ok(found) => found,
                Err(fault) => {
                    faults.push(format!("{}: {fault}", row.name));
                    continue;
                }
            };
            for (router, (found, truth)) in found.iter().zip(row.routers()).enumerate() {
                let Some(expected) = recorded(&mut golden, [input, router], truth) else { continue };
                compared[usize::from(of_logits)] += 1;
                if let Some(fault) = difference(row, truth["unordered"] == true, found, &expected) {
                    faults.push(format!("{} {} input {input}, logits {of_logits}: {fault}", row.name, found.name()));
                }
            }
        }
        engine.unload(model.handle).unwrap();
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(compared.iter().all(|&compared| compared >= 100), "probabilities and logits: only {compared:?} compared");
}

/// A row's model with a card that has these layers, made of what could be chosen in it by hand.
fn with_layers(
    model: &ModelProto,
    layers: impl FnOnce(&[PlacedGate], &RouterReport) -> Vec<LayerCard>,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let bytes = model.encode_to_vec();
    fs::write(&path, &bytes).unwrap();
    let report = routers_of(model);
    let description = ModelDescription::of(&path, bytes.len() as u64, model);
    let (mut card, ..) = description.card_or_guess(model, &report).unwrap();
    let list = gates(model, &card, &RouterReport::default()).unwrap();
    card.layers = layers(&list, &report);
    save_card(&description, &card).unwrap();
    (folder, path)
}

fn row_and_model(name: &str) -> (Row, ModelProto) {
    let row = rows().into_iter().find(|row| row.name == name).unwrap();
    let model = decode_model(&row.model_path(), &map_file(&row.model_path()).unwrap()).unwrap();
    (row, model)
}

/// Every mixture of the row is once chosen and once found, each in turn being the one that was added at the end.
#[test]
fn a_layer_that_a_person_chose_stands_where_it_runs() {
    let engine = Engine::start(EngineOptions::default());
    let (row, model) = row_and_model("moe-plus-plus");
    let num_routers = routers_of(&model).routers.len();
    assert!(num_routers > 1);
    for chosen in 0..num_routers {
        let (_folder, path) = with_layers(&model, |list, report| {
            let (mut by_hand_last, mut found) = (Vec::new(), Vec::new());
            for (at, router) in report.routers.iter().enumerate() {
                if at == chosen {
                    by_hand_last.extend(by_hand(list, router, &row.routers()[at], true));
                } else {
                    found.push(LayerCard::of_router(router));
                }
            }
            assert_eq!(by_hand_last.len(), 1);
            [found, by_hand_last].concat()
        });
        let model = opened(&engine, &row, &path, &mut Vec::new()).unwrap();
        let routers: Vec<Option<usize>> = model.layers.iter().map(|layer| layer.router).collect();
        assert_eq!(routers, (0..num_routers).map(Some).collect::<Vec<_>>(), "in the order in which they run");
        assert!(model.layers[chosen].card.chosen_by_hand && model.card.layers[num_routers - 1].chosen_by_hand);
        model.close(&engine);
    }
}

/// Puts the node that gives `logits` into both branches of an `If` that takes the first one for images whose mean
/// is above `limit`; in that the tensor is called `inside`.
fn within_a_branch(model: &mut ModelProto, logits: &str, limit: f32) {
    let graph = model.graph.as_mut().unwrap();
    let at = graph.node.iter().position(|node| node.output.first().is_some_and(|output| output == logits)).unwrap();
    let gate = graph.node[at].clone();
    let branch = |name: &str, tensor: &str| AttributeProto {
        name: name.into(),
        r#type: 5,
        g: Some(GraphProto {
            name: name.into(),
            node: vec![NodeProto { output: vec![tensor.into()], ..gate.clone() }],
            output: vec![ValueInfoProto { name: tensor.into(), ..ValueInfoProto::default() }],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    let node = |op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
        op_type: op.into(),
        name: format!("{op} {output}"),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    };
    let keepdims = AttributeProto { name: "keepdims".into(), r#type: 2, i: Some(0), ..AttributeProto::default() };
    let nodes = [
        node("ReduceMean", &["pixel_values"], "brightness", vec![keepdims]),
        node("Greater", &["brightness", "limit"], "is bright", Vec::new()),
        node("If", &["is bright"], logits, vec![branch("then_branch", "inside"), branch("else_branch", "other")]),
    ];
    graph.node.splice(at..=at, nodes);
    let (name, float_data) = ("limit".into(), vec![limit]);
    graph.initializer.push(TensorProto { name, data_type: 1, float_data, ..TensorProto::default() });
}

#[test]
fn a_gate_that_a_person_chose_inside_a_branch_is_shown_where_the_branch_runs() {
    let engine = Engine::start(EngineOptions::default());
    let (row, mut model) = row_and_model("mixtral");
    let mut golden = row.golden();
    let brightness = [0, 1].map(|input| {
        let TensorData::F32(pixels) = &golden.inputs(input)[0].data else { panic!("an image of floats") };
        pixels.iter().sum::<f32>() / pixels.len() as f32
    });
    assert_ne!(brightness[0], brightness[1]);
    let logits = routers_of(&model).routers[0].tensors.gate_logits.clone().unwrap().name;
    within_a_branch(&mut model, &logits, (brightness[0] + brightness[1]) / 2.0);
    let (_folder, path) = with_layers(&model, |list, report| {
        let inside = list.iter().find(|placed| placed.gate.tensor.name == "inside").unwrap();
        assert!(inside.path.ends_with(".then_branch:inside"), "{}", inside.path);
        let mut layer = inside.layer();
        layer.set_gate(&inside.path, GateValues::Logits);
        (layer.rule, layer.top_k) = (Some(GatingRule::TopKThenSoftmax), Some(2));
        vec![LayerCard::of_router(&report.routers[1]), layer]
    });
    let mut faults = Vec::new();
    let model = opened(&engine, &row, &path, &mut faults).unwrap();
    assert_eq!((faults, model.hidden_routing.clone()), (Vec::new(), None));
    assert!(model.layers[0].card.chosen_by_hand, "before the one that was found behind it");
    for input in [0, 1] {
        let run = engine.run(&RunRequest { model: model.handle, inputs: golden.inputs(input) }).unwrap();
        let LayerSource::Read(recipe) = &model.layers[0].source else { panic!("it is read from its gate") };
        let found = recipe.read(&run, TokenCount { per_image: None, batch: 1 });
        if brightness[input] < brightness[1 - input] {
            let reason = found.unwrap_err().to_string();
            assert!(reason.contains("inside"), "{reason}");
            continue;
        }
        let truth = &row.routers()[0];
        let expected = recorded(&mut golden, [input, 0], truth).unwrap();
        assert_eq!(difference(&row, truth["unordered"] == true, &found.unwrap()[0], &expected), None);
    }
    model.close(&engine);
}

#[test]
fn the_slots_of_every_soft_moe_are_those_that_pytorch_recorded() {
    let engine = Engine::start(EngineOptions::default());
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let mut compared = 0;
    for row in rows().iter().filter(|row| row.routers().iter().any(|router| router["rule"] == "soft_moe")) {
        let model = OpenModel::open(&engine, &row.model_path(), &execution).unwrap();
        let mut golden = row.golden();
        for input in row.comparable_inputs() {
            let run = engine.run(&RunRequest { model: model.handle, inputs: golden.inputs(input) }).unwrap();
            for (router, (found, truth)) in routings(&model, &run).unwrap().iter().zip(row.routers()).enumerate() {
                let slots = found.slots().unwrap_or_else(|| panic!("{} {}: no slots", row.name, found.name()));
                assert_eq!(Some(slots.per_expert() as u64), truth["slots"].as_u64(), "{}", row.name);
                for (name, weight) in [("dispatch", SlotWeight::Dispatch), ("combine", SlotWeight::Combine)] {
                    let expected = golden.floats(&format!("router.{input}.{router}.{name}")).unwrap();
                    assert_eq!(slots.table(weight).len(), expected.len(), "{} {name}", row.name);
                    let differences = slots.table(weight).iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
                    let worst = differences.fold(0.0, f64::max);
                    assert!(worst <= TOLERANCE, "{} router {router} {name}: {worst:e}", row.name);
                    compared += 1;
                }
            }
        }
        engine.unload(model.handle).unwrap();
    }
    assert!(compared >= 70, "only {compared} compared");
}
