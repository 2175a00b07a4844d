//! Copies of rows that give their routing as outputs, as a person exports a model for this program: with a card that names
//! them, and k a constant of the graph.

use crate::row::Row;
use moescope::model::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use moescope::model::routers::{Router, TensorRef, routers_of};
use moescope::model::{LayerCard, ModelDescription, decode_model, map_file};
use moescope::report::save_card;
use prost::Message;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// What the outputs are that the card names.
#[allow(dead_code, reason = "each test takes what it needs")]
#[derive(Clone, Copy, PartialEq)]
pub enum Outputs {
    /// The routers' own tensors, every second layer's under other names.
    Own,
    /// The negatives of those.
    Negated,
    /// Those, but for the weights, of which there are the cosines: a rank without weight has 1.
    Bent,
    /// A choice of their own by the gate logits, with a k of its own.
    Beside,
}

/// The copy of a row, with a card beside it; `None` where a router does not have what a card can declare.
pub fn declared(row: &Row, outputs: Outputs) -> Option<(TempDir, PathBuf)> {
    let path = row.model_path();
    let file = map_file(&path).unwrap();
    let mut model = decode_model(&path, &file).unwrap();
    let report = routers_of(&model);
    let description = ModelDescription::of(&path, file.len() as u64, &model);
    let (mut card, ..) = description.card_or_guess(&model, &report).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let layers = card.layers.iter().zip(&report.routers).enumerate().map(|(at, (guessed, router))| {
        let logits = &router.tensors.gate_logits.as_ref()?.name;
        let names = match outputs {
            Outputs::Own if at % 2 == 0 => own(graph, router)?,
            Outputs::Own => own(graph, router)?.map(|name| made(graph, "Identity", &name)),
            Outputs::Negated => own(graph, router)?.map(|name| made(graph, "Neg", &name)),
            Outputs::Bent => {
                let [probs, ids, weights] = own(graph, router)?;
                [probs, ids, made(graph, "Cos", &weights)]
            }
            Outputs::Beside => beside(graph, logits, router.top_k?),
        };
        for name in &names {
            if graph.output.iter().all(|output| output.name != *name) {
                graph.output.push(ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() });
            }
        }
        let (tokens, grid) = (guessed.tokens, guessed.grid.clone());
        let gate_logits = (outputs == Outputs::Beside).then(|| logits.clone());
        let layer = LayerCard::of_tensors(&guessed.name, guessed.num_experts, names.each_ref().map(String::as_str));
        Some(LayerCard { tokens, grid, gate_logits, ..layer })
    });
    card.layers = layers.collect::<Option<_>>()?;
    card.top_k = None;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model.onnx");
    let bytes = model.encode_to_vec();
    fs::write(&copy, &bytes).unwrap();
    save_card(&ModelDescription::of(&copy, bytes.len() as u64, &model), &card).unwrap();
    Some((folder, copy))
}

/// The router's gate probabilities, ids and weights.
fn own(graph: &mut GraphProto, router: &Router) -> Option<[String; 3]> {
    let tensors = &router.tensors;
    let is_plain = |tensor: &TensorRef| {
        tensor.place.is_empty() && tensor.expert_axis.is_some_and(|axis| axis + 1 == tensor.shape.len())
    };
    let choice = tensors.expert_ids.as_ref().zip(tensors.combine_weights.as_ref());
    let (ids, weights) = choice.filter(|(ids, weights)| is_plain(ids) && is_plain(weights) && !weights.dense)?;
    let mut gate = tensors.gate_probs.iter().chain(&tensors.gate_logits);
    if !gate.all(is_plain) || router.top_k.is_none() || router.heads > 1 {
        return None;
    }
    // Where a rule takes the softmax of the chosen alone, that of all is made for people.
    let probs = tensors.gate_probs.as_ref().map(|probs| probs.name.clone());
    let probs = probs.or_else(|| Some(made(graph, "Softmax", &tensors.gate_logits.as_ref()?.name)))?;
    Some([probs, ids.name.clone(), weights.name.clone()])
}

fn beside(graph: &mut GraphProto, logits: &str, k: usize) -> [String; 3] {
    let probs = made(graph, "Softmax", logits);
    let [weights, ids, own_k] = ["weights", "ids", "k"].map(|what| format!("beside.{what}.{logits}"));
    let (name, int64_data) = (own_k.clone(), vec![k as i64]);
    graph.initializer.push(TensorProto { name, dims: vec![1], data_type: 7, int64_data, ..TensorProto::default() });
    let (input, output) = (vec![probs.clone(), own_k], vec![weights.clone(), ids.clone()]);
    graph.node.push(NodeProto { op_type: "TopK".into(), input, output, ..NodeProto::default() });
    [probs, ids, weights]
}

/// What an operator makes of a tensor.
fn made(graph: &mut GraphProto, op: &str, input: &str) -> String {
    let output = format!("beside.{op}.{input}");
    let (op_type, input) = (op.to_owned(), vec![input.to_owned()]);
    graph.node.push(NodeProto { op_type, input, output: vec![output.clone()], ..NodeProto::default() });
    output
}
