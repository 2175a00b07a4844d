//! What ONNX Runtime takes. It is not used to refuse a model: another library, or a provider with operators of its own,
//! may take more. It explains a refusal with everything that would have to change, where ONNX Runtime stops at the first.

use super::graph::{FastMap, FastSet};
use super::operators::first_version;
use super::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use super::structure::domain;
use super::visit::bodies;
use super::{ModelDescription, ModelError};
use std::collections::BTreeSet;

/// Version of the file format that ONNX Runtime 1.31 reads.
const MAX_IR_VERSION: i64 = 13;

/// Operator sets that ONNX Runtime 1.31 takes; those of unknown domains are not refused for their version.
const MAX_OPSETS: [(&str, i64); 8] = [
    ("ai.onnx", 26),
    ("ai.onnx.ml", 5),
    ("ai.onnx.preview", 1),
    ("ai.onnx.preview.training", 1),
    ("ai.onnx.training", 1),
    ("com.microsoft", 1),
    ("com.microsoft.experimental", 1),
    ("com.microsoft.nchwc", 1),
];

impl ModelDescription {
    /// What of the file ONNX Runtime is known not to take; for a model that it refused.
    #[must_use]
    pub fn unsupported(&self) -> Option<ModelError> {
        let newer = |part: &str, found, supported| {
            let (path, part) = (self.path.clone(), part.to_owned());
            (found > supported).then_some(ModelError::Newer { path, part, found, supported })
        };
        let opsets = MAX_OPSETS.iter().find_map(|&(domain, supported)| {
            let found = *self.opsets.get(domain)?;
            newer(&format!("operator set {domain}"), found, supported)
        });
        let operators = &self.unknown_operators;
        newer("the file format's IR version", self.ir_version, MAX_IR_VERSION).or(opsets).or_else(|| {
            let (path, operators) = (self.path.clone(), operators.clone());
            (!operators.is_empty()).then_some(ModelError::Operators { path, operators })
        })
    }
}

/// Operators of a model, and of the functions that it calls, that ONNX Runtime does not know in the version that the
/// model asks for; sorted, each once.
pub(super) fn unknown_operators(model: &ModelProto) -> Vec<String> {
    let functions: FastMap<_, _> =
        model.functions.iter().map(|function| ((domain(&function.domain), function.name.as_str()), function)).collect();
    let mut unknown = BTreeSet::new();
    let mut seen = FastSet::default();
    let mut open: Vec<(&[NodeProto], &[OperatorSetIdProto])> = Vec::new();
    open.extend(model.graph.iter().map(|graph| (graph.node.as_slice(), model.opset_import.as_slice())));
    while let Some((nodes, imports)) = open.pop() {
        for operator in operators(nodes) {
            match functions.get(&operator) {
                Some(function) if seen.insert(operator) => open.push((&function.node, &function.opset_import)),
                Some(_) => {}
                None => unknown.extend(problem(operator, imports)),
            }
        }
    }
    unknown.into_iter().collect()
}

/// Domain and name of each operator of the nodes and their bodies, each once.
fn operators(nodes: &[NodeProto]) -> FastSet<(&str, &str)> {
    fn add<'a>(nodes: &'a [NodeProto], found: &mut FastSet<(&'a str, &'a str)>) {
        for node in nodes {
            found.insert((domain(&node.domain), node.op_type.as_str()));
            bodies(node).for_each(|GraphProto { node, .. }| add(node, found));
        }
    }
    let mut found = FastSet::default();
    add(nodes, &mut found);
    found
}

/// The operator in words, if ONNX Runtime does not know it in the version that is asked for.
fn problem((from, operator): (&str, &str), imports: &[OperatorSetIdProto]) -> Option<String> {
    let name = if from == "ai.onnx" { operator.to_owned() } else { format!("{from}.{operator}") };
    let asked = imports.iter().filter(|import| domain(&import.domain) == from).map(|import| import.version).max();
    match (first_version(from, operator), asked) {
        (None, _) => Some(name),
        (Some(first), Some(asked)) if asked < first => {
            Some(format!("{name} (since operator set {first}; the model asks for {asked})"))
        }
        _ => None,
    }
}
