//! Every row of models/zoo through the finder, without a card: all routers found, none invented, their rules named right;
//! and what they compute, with the tensors found made outputs and run by our engine, against what PyTorch recorded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

#[path = "zoo/compare.rs"]
mod compare;
#[path = "zoo/row.rs"]
mod row;

use bytes::Bytes;
use compare::{compare, compare_kept, compare_rank};
use moescope::engine::{
    EditedModel, Engine, EngineOptions, Execution, LoadRequest, ModelHandle, Provider, RunRequest, Tensor,
};
use moescope::model::graph::ModelGraph;
use moescope::model::proto::ModelProto;
use moescope::model::routers::{RankTensors, Router, RouterReport, Takes, TensorRef, find_routers};
use moescope::model::{decode_model, expose, map_file};
use prost::Message;
use row::{Row, rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fewer rows than this, and rows were lost.
const ROWS: usize = 100;

/// A row's model, decoded.
fn decoded(row: &Row) -> (Bytes, ModelProto) {
    let path = row.model_path();
    let file = map_file(&path).unwrap();
    let model = decode_model(&path, &file).unwrap();
    (file, model)
}

fn report(model: &ModelProto) -> RouterReport {
    find_routers(&ModelGraph::new(model).unwrap())
}

/// What row.json says of a router, as far as a graph can tell it.
fn truth(router: &Value) -> Value {
    let keys =
        ["rule", "inner_rule", "num_experts", "top_k", "per_image", "selection_bias", "shared_experts", "frozen"];
    let mut truth = json!({});
    for key in keys {
        truth[key] = router[key].clone();
    }
    let groups = &router["groups"];
    truth["groups"] =
        if groups.is_null() { Value::Null } else { json!({ "n": groups["count"], "kept": groups["kept"] }) };
    truth["capacity"] = router["capacity"].clone();
    truth
}

fn found(router: &Router) -> Value {
    json!({
        "rule": router.rule,
        "inner_rule": router.inner_rule,
        "num_experts": router.num_experts,
        "top_k": router.top_k,
        "per_image": router.per_image,
        "selection_bias": router.selection_bias,
        "shared_experts": router.shared_experts,
        "frozen": router.frozen,
        "groups": router.groups,
        "capacity": router.capacity,
    })
}

#[test]
fn every_router_is_found_and_none_is_invented() {
    let rows = rows();
    assert!(rows.len() >= ROWS, "{} rows", rows.len());
    let mut faults = Vec::new();
    for row in &rows {
        let report = report(&decoded(row).1);
        let expected = row.routers();
        if report.routers.len() != expected.len() {
            faults.push(format!("{}: {} routers, not {}", row.name, report.routers.len(), expected.len()));
        }
        for (router, expected) in report.routers.iter().zip(expected) {
            let (found, truth) = (found(router), truth(expected));
            let differs = |(key, value): (&String, &Value)| (*value != truth[key]).then(|| key.clone());
            let keys: Vec<String> = found.as_object().unwrap().iter().filter_map(differs).collect();
            for key in keys {
                faults.push(format!("{} {}: {key} is {}, not {}", row.name, router.name, found[&key], truth[&key]));
            }
            let scales = [router.scale.map(f64::from), expected["scale"].as_f64()];
            if !matches!(scales, [None, None])
                && !matches!(scales, [Some(a), Some(b)] if (a - b).abs() < 1e-4 * b.abs())
            {
                faults.push(format!("{} {}: scale {scales:?}", row.name, router.name));
            }
            if router.evidence.is_empty() {
                faults.push(format!("{} {}: no evidence", row.name, router.name));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Where no gate chooses, what does is told; and no such layer is invented.
#[test]
fn every_fixed_routing_is_found_and_none_is_invented() {
    let mut layers = 0;
    for row in rows() {
        let report = report(&decoded(&row).1);
        let found = report.fixed.iter().map(|fixed| {
            let kind = serde_json::to_value(&fixed.rule).unwrap()["kind"].clone();
            json!({ "kind": kind, "experts": fixed.experts.len() })
        });
        assert_eq!(found.collect::<Vec<_>>(), row.fixed(), "{}", row.name);
        layers += report.fixed.len();
        for fixed in &report.fixed {
            assert!(fixed.sentence().contains("there is no gate") && !fixed.name.is_empty(), "{}", row.name);
            assert_eq!(fixed.assignment().len(), fixed.num_experts, "{}", row.name);
            let is_told = |takes: &Takes| !matches!(takes, Takes::Computed { .. });
            assert!(fixed.experts.iter().all(|expert| is_told(&expert.takes)), "{}: {:?}", row.name, fixed.experts);
        }
    }
    assert!(layers >= 12, "{layers} layers");
}

/// A frozen export, and experts that an export lost, are never shown as truth.
#[test]
fn what_is_wrong_with_an_export_is_said() {
    let mut warned = 0;
    for row in rows() {
        for router in report(&decoded(&row).1).routers.iter().filter(|router| router.frozen) {
            assert!(router.warnings.iter().any(|warning| warning.contains("export")), "{}", row.name);
            warned += 1;
        }
    }
    assert!(warned >= 6, "{warned}");
}

/// The tensors of one choice alone, with their roles; those that all choices have in one are none.
fn tensors_of(rank: &RankTensors) -> [(&'static str, Option<&TensorRef>); 3] {
    let kept = rank.kept.as_ref().map(|kept| &kept.tensor);
    [("expert_ids", rank.expert_ids.as_ref()), ("combine_weights", rank.combine_weights.as_ref()), ("kept", kept)]
}

/// The tensors of a router that can be shown, with their roles.
fn tensors(router: &Router) -> [(&'static str, Option<&TensorRef>); 5] {
    let tensors = &router.tensors;
    [
        ("gate_logits", tensors.gate_logits.as_ref()),
        ("gate_probs", tensors.gate_probs.as_ref()),
        ("expert_ids", tensors.expert_ids.as_ref()),
        ("combine_weights", tensors.combine_weights.as_ref()),
        ("kept", tensors.kept.as_ref().map(|kept| &kept.tensor)),
    ]
}

/// A row's model with the routing as outputs, loaded.
struct Shown {
    model: ModelHandle,
    report: RouterReport,
    /// Output by name and place of the tensor.
    outputs: BTreeMap<String, String>,
}

fn key(tensor: &TensorRef) -> String {
    format!("{}{:?}", tensor.name, tensor.place)
}

fn show(engine: &Engine, row: &Row) -> Shown {
    let (file, model) = decoded(row);
    let report = report(&model);
    let wanted: Vec<&TensorRef> =
        report.routers.iter().flat_map(|router| tensors(router)).filter_map(|(_, tensor)| tensor).collect();
    let of_ranks = report.routers.iter().flat_map(|router| &router.tensors.ranks).flat_map(tensors_of);
    let wanted: Vec<&TensorRef> = wanted.into_iter().chain(of_ranks.filter_map(|(_, tensor)| tensor)).collect();
    let shown = expose(&model, &file, &row.model_path(), &wanted).unwrap();
    let edited = Some(EditedModel(shown.model.encode_to_vec().into()));
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let loaded = engine.load(&LoadRequest { edited, ..LoadRequest::new(row.model_path(), execution) });
    let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", row.name));
    let outputs = wanted.iter().map(|tensor| key(tensor)).zip(shown.outputs).collect();
    Shown { model: loaded.model, report, outputs }
}

#[test]
fn what_is_found_computes_what_pytorch_computed() {
    let engine = Engine::start(EngineOptions::default());
    let mut faults = Vec::new();
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows().iter().filter(|row| !row.is_random()) {
        let shown = show(&engine, row);
        let mut golden = row.golden();
        for input in row.comparable_inputs() {
            let inputs = golden.inputs(input);
            let result = engine.run(&RunRequest { model: shown.model, inputs });
            let result = result.unwrap_or_else(|error| panic!("{} {input}: {error}", row.name));
            let outputs: BTreeMap<&str, &Tensor> =
                result.outputs.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
            for (number, (router, truth)) in shown.report.routers.iter().zip(row.routers()).enumerate() {
                for (rank, of) in router.tensors.ranks.iter().enumerate() {
                    for (role, tensor) in tensors_of(of) {
                        let Some(tensor) = tensor else { continue };
                        let place_axis = of.kept.as_ref().and_then(|kept| kept.place_axis);
                        let values = outputs[shown.outputs[&key(tensor)].as_str()];
                        let at = [input, number, rank];
                        match compare_rank(&mut golden, at, truth, role, (tensor, values), place_axis) {
                            Ok(()) => {
                                *compared.entry(if role == "kept" { role } else { "of one choice" }).or_default() += 1;
                            }
                            Err(fault) => faults.push(format!("{} {} input {input}: {fault}", row.name, router.name)),
                        }
                    }
                }
                let by_rank = |role: &str| {
                    let mut ranks = router.tensors.ranks.iter().flat_map(tensors_of);
                    ranks.any(|(of, tensor)| of == role && tensor.is_some())
                };
                for (role, tensor) in tensors(router) {
                    if tensor.is_none() && by_rank(role) {
                        continue;
                    }
                    let tensor = tensor.map(|tensor| (tensor, outputs[shown.outputs[&key(tensor)].as_str()]));
                    let place_axis = router.tensors.kept.as_ref().and_then(|kept| kept.place_axis);
                    let compared_now = if role == "kept" {
                        compare_kept(&mut golden, row, [input, number], truth, tensor, place_axis)
                    } else {
                        compare(&mut golden, row, [input, number], truth, role, tensor)
                    };
                    match compared_now {
                        Ok(true) => *compared.entry(role).or_default() += 1,
                        Ok(false) => {}
                        Err(fault) => {
                            faults.push(format!("{} {} input {input}: {role} {fault}", row.name, router.name));
                        }
                    }
                }
            }
        }
        engine.unload(shown.model).unwrap();
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    for role in ["gate_logits", "gate_probs", "expert_ids", "combine_weights"] {
        assert!(compared[role] >= 250, "{role}: only {} compared", compared[role]);
    }
    for role in ["kept", "of one choice"] {
        assert!(compared[role] >= 60, "{role}: only {} compared", compared[role]);
    }
}
