//! The list over the zoo, with the finder's routers thrown away: its first tensors have to be the true gates.

use super::*;
use crate::model::geometry::{PlacedGate, gates};
use crate::model::routers::{Router, routers_of};
use crate::model::{ModelDescription, decode_model, map_file};
use std::fs;
use std::path::{Path, PathBuf};

/// Of a model with R routers, all true gates are among the first R times this many: logits and probabilities of each.
const FIRST: usize = 2;

/// However many routers there are, all true gates are among the first of this many.
const MOST: usize = 12;

fn zoo() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows");
    let mut rows: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|row| row.unwrap().path()).collect();
    rows.sort();
    rows
}

/// What the finder found in a row, and the list that knows nothing of it.
fn listed(row: &Path) -> (RouterReport, Vec<PlacedGate>) {
    let path = row.join("model.onnx");
    let file = map_file(&path).unwrap();
    let model = decode_model(&path, &file).unwrap();
    let report = routers_of(&model);
    let description = ModelDescription::of(&path, file.len() as u64, &model);
    let (card, ..) = description.card_or_guess(&model, &report).unwrap();
    let list = gates(&model, &card, &RouterReport::default()).unwrap();
    (report, list)
}

/// The place of a router's logits or probabilities in the list.
fn rank(router: &Router, list: &[PlacedGate]) -> Option<usize> {
    let gates = [&router.tensors.gate_logits, &router.tensors.gate_probs];
    let is_one = |listed: &PlacedGate| {
        let same = |tensor: &&TensorRef| {
            (&tensor.name, &tensor.place) == (&listed.gate.tensor.name, &listed.gate.tensor.place)
        };
        gates.into_iter().flatten().any(|tensor| same(&tensor))
    };
    list.iter().position(is_one)
}

#[test]
fn the_true_gates_of_the_zoo_come_first() {
    let (mut faults, mut ranked) = (Vec::new(), 0);
    for row in zoo() {
        let (report, list) = listed(&row);
        let name = row.file_name().unwrap().to_string_lossy().into_owned();
        for router in &report.routers {
            if router.tensors.gate_logits.is_none() && router.tensors.gate_probs.is_none() {
                continue;
            }
            let found = rank(router, &list);
            let limit = MOST.min(FIRST * report.routers.len());
            match found {
                Some(found) if found < limit => ranked += 1,
                found => faults.push(format!(
                    "{name} {}: {found:?} of {}, not below {limit}; first {:?}",
                    router.name,
                    list.len(),
                    list.iter().take(3).map(|l| (&l.path, &l.gate.evidence)).collect::<Vec<_>>()
                )),
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(ranked >= 190, "only {ranked} gates ranked");
}
