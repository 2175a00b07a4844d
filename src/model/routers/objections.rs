//! What speaks against a router although something like experts follows: codebooks, memories, prompts, hierarchies of
//! classes and fusions of features look like one until it is asked what becomes of what they look up or weight.

use super::assemble::Plan;
use super::experts::Found;
use super::names::weights_of;
use super::region::Regions;
use super::report::{ExpertForm, GatingRule, ScoreFunction};
use super::scores::{is_passive, skip_passive};
use super::seeds::Candidate;
use super::walk::Walk;
use crate::model::graph::{FastSet, ModelGraph, Node, NodeId, ValueId, is_product};

/// What speaks against a router although something like experts follows.
pub(super) fn objection(
    plan: &Plan,
    graph: &ModelGraph<'_>,
    regions: &mut Regions<'_, '_>,
    candidate: &Candidate,
    walk: &Walk<'_, '_>,
    found: &Found,
) -> Option<&'static str> {
    if found.form == ExpertForm::Rows && plan.named.rule != GatingRule::ProductKey && plan.weights.is_none() {
        return Some("it looks rows up in tables without weighting them, as a codebook does");
    }
    if plan.named.rule == GatingRule::Other && plan.named.score == ScoreFunction::None && plan.main.is_none() {
        return Some("it weights places rather than experts, as a pooling by attention does");
    }
    let merge = graph.node(found.region.merge);
    if plan.main.is_none() && merge.op == "Concat" && !is_summed(graph, merge) {
        return Some("what it weights is put side by side and never added up, as in a hierarchy of classes");
    }
    if found.form == ExpertForm::Rows
        && plan.named.rule != GatingRule::ProductKey
        && !multiplies_rows(graph, walk, found)
    {
        return Some("the rows that it looks up meet no data, as those of a memory or of nearest neighbours");
    }
    if found.form == ExpertForm::Gathered && !multiplies_gathered(graph, found) {
        return Some("nothing is multiplied with what it looks up, as with prompts or memories");
    }
    if found.form == ExpertForm::Branches && plan.main.is_none() && passes_through(graph, walk, found) {
        return Some("the weights multiply its own values, as those of the next layer do");
    }
    if matches!(found.form, ExpertForm::Branches | ExpertForm::Stacked) && plan.main.is_none() {
        let gate = graph.producer(candidate.raw)?;
        let before = regions.back_from(&[gate], found.region.entry);
        let weights: FastSet<ValueId> = found.weights.iter().flatten().copied().collect();
        let reads = |id: &NodeId| graph.node(*id).inputs.iter().flatten().any(|input| weights.contains(input));
        if before.iter().any(reads) {
            return Some(
                "the gate reads what the branches computed: selective kernels or a fusion of features, not a router",
            );
        }
    }
    None
}

/// Whether rows that were looked up are multiplied with data, as the two halves of a neuron are.
fn multiplies_rows(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, found: &Found) -> bool {
    let rows: FastSet<ValueId> = found.evidence.iter().flat_map(|&id| graph.node(id).outputs.iter().copied()).collect();
    let is_row = |value: ValueId| rows.contains(&skip_passive(graph, value));
    let is_data = |value: ValueId| graph.value(value).is_data && walk.kind(value).is_none() && !is_row(value);
    let inputs = |node: &Node<'_>| node.inputs.iter().flatten().copied().collect::<Vec<_>>();
    let products = found.region.nodes.iter().map(|&id| graph.node(id));
    let mut products = products.filter(|node| is_product(node.op) || node.op == "Mul").map(inputs);
    products.any(|inputs| inputs.iter().any(|&input| is_row(input)) && inputs.iter().any(|&input| is_data(input)))
}

/// Whether data is multiplied with anything that was looked up, perhaps after it was cut, moved or scaled.
fn multiplies_gathered(graph: &ModelGraph<'_>, found: &Found) -> bool {
    let mut from: FastSet<ValueId> =
        found.evidence.iter().flat_map(|&id| graph.node(id).outputs.iter().copied()).collect();
    found.region.nodes.iter().any(|&id| {
        let node = graph.node(id);
        let reads = |value: &ValueId| from.contains(value);
        let of_experts = node.inputs.iter().flatten().filter(|input| reads(input)).count();
        if of_experts == 0 || found.evidence.contains(&id) {
            return false;
        }
        let meets_data = node.inputs.iter().flatten().any(|input| graph.value(*input).is_data && !reads(input));
        if is_product(node.op) || node.op == "Mul" && meets_data {
            return meets_data;
        }
        let is_moved =
            is_passive(node.op) || matches!(node.op, "Slice" | "Split" | "Gather" | "Mul" | "Sub" | "Div" | "Add");
        if is_moved && !(node.op == "Add" && meets_data) {
            from.extend(node.outputs.iter().copied());
        }
        false
    })
}

/// Whether the experts' weights multiply the router's own values rather than data.
fn passes_through(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, found: &Found) -> bool {
    let weights: FastSet<ValueId> = found.weights.iter().flatten().copied().collect();
    let of_experts =
        |node: &&Node<'_>| is_product(node.op) && weights_read(graph, node).any(|weight| weights.contains(&weight));
    let mut products = found.region.nodes.iter().map(|&id| graph.node(id)).filter(of_experts);
    products.any(|node| node.inputs.iter().flatten().any(|&input| walk.kind(input).is_some()))
}

/// The roots of the weights that a node reads.
fn weights_read(graph: &ModelGraph<'_>, node: &Node<'_>) -> impl Iterator<Item = ValueId> {
    let weights = node.inputs.iter().flatten().copied().filter(|&input| !graph.value(input).is_data);
    weights.flat_map(|weight| weights_of(graph, weight)).collect::<Vec<_>>().into_iter()
}

/// Whether what a node stacks is added up next.
fn is_summed(graph: &ModelGraph<'_>, stack: &Node<'_>) -> bool {
    let readers = stack.output(0).into_iter().flat_map(|output| graph.data_consumers(output));
    let mut ops = readers.map(|reader| graph.node(reader).op);
    ops.any(|op| op.starts_with("Reduce") || is_product(op) || op == "SequenceAt")
}
