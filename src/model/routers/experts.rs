//! The proof that a gate is a router: experts. Branches that are alike but for their weights, weights with a leading axis
//! of experts, or weights that are looked up by the chosen experts.

use super::blocks::weighted_blocks;
use super::branches::{Branches, Unlike, find_branches};
use super::kernels::mixed_kernels;
use super::region::{Region, Regions};
use super::report::ExpertForm;
use super::scores::{distance_to, skip_passive};
use super::walk::Walk;
use crate::model::graph::{FastSet, ModelGraph, Node, NodeId, ValueId, is_float, is_product, is_quantized};

/// Joins after the router that are looked at: gates scale inputs in some models, so that experts follow the first join.
const MAX_JOINS: usize = 6;

/// A gate without choice multiplies what experts gave at once.
const MAX_SOFT_JOINS: usize = 2;

/// Nodes on the way from the router to its experts' end.
const MAX_WAY: usize = 96;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub form: ExpertForm,
    /// Number of experts that the graph has.
    pub count: usize,
    /// E, where the experts tell it rather than the router: the axis of slots, for one, is longer.
    pub width: usize,
    /// Weights: for each expert its own, or one list.
    pub weights: Vec<Vec<ValueId>>,
    /// The nodes in sentences.
    pub evidence: Vec<NodeId>,
    pub region: Region,
    pub all_executed: bool,
    /// Whether branches are those of experts that were hit while the model was traced.
    pub by_hit: bool,
    /// Whether an expert may take as many tokens only as it took of the traced image.
    pub fixes_rows: bool,
    /// Whether an expert is missing before the last one that has weights.
    pub has_gaps: bool,
    /// Of `count`, those that have no weights.
    pub without_weights: usize,
    /// Of `count`, those that mix a vector of their own with what they are given.
    pub constants: usize,
    pub unlike: Option<Unlike>,
}

/// Looks for the experts of the router that `walk` went through.
///
/// `widths` are the numbers of experts to believe in, the likeliest first; `raw` is the router's product.
pub(super) fn find_experts(
    graph: &ModelGraph<'_>,
    regions: &mut Regions<'_, '_>,
    walk: &Walk<'_, '_>,
    raw: ValueId,
    widths: &[i64],
    slots: bool,
) -> Result<Found, &'static str> {
    let Some(start) = graph.producer(raw) else { return Err("it decides on an input of the model") };
    let floor = data_before(graph, start);
    let mut at = start;
    let mut joins = 0;
    let chooses = !walk.findings.choices.is_empty();
    for _ in 0..MAX_WAY {
        let Some(next) = regions.dominators.after(at) else { break };
        at = next;
        if walk.contains(at) || !is_join(graph, walk, at, widths) {
            continue;
        }
        joins += 1;
        let region = regions.ending_at(at, floor);
        if let Some(found) = in_region(graph, walk, raw, region, widths, slots) {
            return Ok(found);
        }
        // Experts that read the model's input itself may stand before the gate in the file.
        if joins == 1 && regions.dominators.before(at).is_none() && is_single_input(graph) {
            let region = regions.ending_at(at, None);
            if let Some(found) = in_region(graph, walk, raw, region, widths, slots) {
                return Ok(found);
            }
        }
        if joins >= if chooses { MAX_JOINS } else { MAX_SOFT_JOINS } {
            break;
        }
    }
    if regions.is_exhausted() {
        return Err("the graph is too entangled to look for its experts");
    }
    Err(if joins == 0 {
        "nothing after it uses the choice"
    } else {
        "no experts follow: no branches that are alike but for their weights, and no weights with an axis of experts"
    })
}

/// Whether the model has one input for data: then what has no dominator is fed by that input.
fn is_single_input(graph: &ModelGraph<'_>) -> bool {
    let inputs = graph.inputs().iter().filter(|&&input| is_float(graph.value(input).element));
    inputs.count() == 1
}

/// The node that gives the data which a product multiplies with weights.
fn data_before(graph: &ModelGraph<'_>, product: NodeId) -> Option<NodeId> {
    let node = graph.node(product);
    if let Some(data) = distance_to(graph, node) {
        return graph.producer(skip_passive(graph, data));
    }
    graph
        .data_inputs(node)
        .filter(|&input| graph.value(input).is_data)
        .filter_map(|input| graph.producer(skip_passive(graph, input)))
        .min()
}

/// Whether several data come together at a node, or data and weights of all experts.
fn is_join(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, id: NodeId, widths: &[i64]) -> bool {
    let node = graph.node(id);
    if graph.data_inputs(node).any(|input| walk.kind(input).is_some()) {
        return true;
    }
    let data = graph.data_inputs(node).filter(|&input| graph.value(input).is_data).count();
    data >= 2 || stacked_weight(graph, node, widths).is_some() || matches!(node.op, Node::LAST | Node::STACK)
}

fn in_region(
    graph: &ModelGraph<'_>,
    walk: &Walk<'_, '_>,
    raw: ValueId,
    region: Region,
    widths: &[i64],
    slots: bool,
) -> Option<Found> {
    let cone = cone(graph, &region, raw);
    let gathered = gathered_weights(graph, &region, &cone, widths);
    let tables = |rank: usize| {
        gathered.iter().filter(|(_, weight, _)| lead(graph, *weight).is_some_and(|(_, r)| r >= rank)).count()
    };
    let frozen = walk.unrolls_hits();
    if tables(3) > 0 || tables(2) >= 2 {
        let form = if tables(3) > 0 { ExpertForm::Gathered } else { ExpertForm::Rows };
        let width = gathered[0].2;
        return Some(Found { by_hit: frozen, ..tensors(form, &gathered, width, region, false) });
    }
    if let Some(kernels) = mixed_kernels(graph, &region, walk, widths) {
        return Some(tensors(ExpertForm::Kernels, &[kernels], kernels.2, region, true));
    }
    let stacked = stacked_weights(graph, &region, widths, slots);
    if !stacked.is_empty() {
        let width = stacked[0].2;
        let all_executed = !stacked.iter().any(|(id, _, _)| is_looped(graph, *id));
        return Some(tensors(ExpertForm::Stacked, &stacked, width, region, all_executed));
    }
    if let Some(looped) = looped_weights(graph, &region, widths) {
        let width = looped[0].2;
        return Some(tensors(ExpertForm::Loop, &looped, width, region, false));
    }
    // A branch for each expert, and with several slots per expert, a part of the slots for each branch.
    let parts = if slots { divisors(widths) } else { widths.to_vec() };
    let Some(mut branches) = find_branches(graph, walk, &region, &cone, &parts) else {
        let blocks = weighted_blocks(graph, &region, walk, widths)?;
        return Some(tensors(ExpertForm::Stacked, &blocks, blocks[0].2, region, true));
    };
    if slots {
        branches.width = branches.weights.len();
    }
    Some(Found { by_hit: branches.by_hit || frozen, ..of_branches(branches, region) })
}

/// All that divides one of several numbers, 1 left out.
fn divisors(numbers: &[i64]) -> Vec<i64> {
    /// More experts than this come in stacked weights, not in branches.
    const MAX_BRANCHES: i64 = 4096;
    (2..=MAX_BRANCHES).filter(|part| numbers.iter().any(|number| number % part == 0)).collect()
}

fn tensors(
    form: ExpertForm,
    found: &[(NodeId, ValueId, i64)],
    width: i64,
    region: Region,
    all_executed: bool,
) -> Found {
    let mut weights: Vec<ValueId> = found.iter().map(|(_, weight, _)| *weight).collect();
    weights.sort_unstable();
    weights.dedup();
    Found {
        form,
        count: width as usize,
        width: width as usize,
        weights: vec![weights],
        evidence: found.iter().map(|(id, _, _)| *id).collect(),
        region,
        all_executed,
        by_hit: false,
        fixes_rows: false,
        has_gaps: false,
        without_weights: 0,
        constants: 0,
        unlike: None,
    }
}

fn of_branches(branches: Branches, region: Region) -> Found {
    Found {
        form: ExpertForm::Branches,
        count: branches.weights.len() + branches.without_weights,
        width: branches.width,
        weights: branches.weights,
        evidence: branches.evidence,
        region,
        all_executed: branches.all_executed,
        by_hit: branches.by_hit,
        fixes_rows: branches.fixes_rows,
        has_gaps: branches.has_gaps,
        without_weights: branches.without_weights,
        constants: branches.constants,
        unlike: branches.unlike,
    }
}

/// The values of a region that depend on the logits.
pub(super) fn cone(graph: &ModelGraph<'_>, region: &Region, raw: ValueId) -> FastSet<ValueId> {
    let mut cone = FastSet::from_iter([raw]);
    for &id in &region.nodes {
        let node = graph.node(id);
        if graph.data_inputs(node).any(|input| cone.contains(&input)) {
            cone.extend(node.outputs.iter().copied());
        }
    }
    cone
}

/// The first axis longer than 1 of a weight, and the number of axes from there on.
pub(super) fn lead(graph: &ModelGraph<'_>, weight: ValueId) -> Option<(i64, usize)> {
    let shape = graph.shape(weight)?;
    let at = shape.iter().position(|&size| size != 1)?;
    Some((shape[at], shape.len() - at))
}

pub(super) fn is_weight(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    let of = graph.value(value);
    !of.is_data && (is_float(of.element) || is_quantized(of.element)) && graph.num_elements(value).is_none_or(|n| n > 1)
}

/// A weight that a product reads and that has a leading axis of experts.
fn stacked_weight(graph: &ModelGraph<'_>, node: &Node<'_>, widths: &[i64]) -> Option<(ValueId, i64)> {
    if !is_product(node.op) {
        return None;
    }
    if node.op == "Conv" {
        let groups = graph.int(node, "group").unwrap_or(1);
        let weight = node.input(1).filter(|&weight| is_weight(graph, weight))?;
        let depthwise = graph.shape(weight)?.first() == Some(&groups);
        return widths.iter().find(|&&width| width > 1 && width == groups && !depthwise).map(|&width| (weight, width));
    }
    let weights = node.inputs.iter().flatten().copied().filter(|&input| is_weight(graph, input));
    weights
        .filter_map(|weight| {
            let (leading, rank) = lead(graph, weight)?;
            let is_width = |size: i64| widths.iter().copied().find(|&width| width > 1 && width == size);
            // Heads of an attention may have experts of their own.
            let of_heads = || graph.shape(weight).filter(|shape| shape.len() >= 4).and_then(|shape| is_width(shape[1]));
            let width = is_width(leading).or_else(of_heads)?;
            (rank >= 3).then_some((weight, width))
        })
        .next()
}

fn stacked_weights(
    graph: &ModelGraph<'_>,
    region: &Region,
    widths: &[i64],
    slots: bool,
) -> Vec<(NodeId, ValueId, i64)> {
    let mut found = Vec::new();
    for &id in &region.nodes {
        let node = graph.node(id);
        let exact = stacked_weight(graph, node, widths);
        // With several slots per expert, the axis of slots is a multiple of the experts.
        let by_slots = || {
            let weights = node
                .inputs
                .iter()
                .flatten()
                .copied()
                .filter(|&input| slots && is_product(node.op) && is_weight(graph, input));
            weights
                .filter_map(|weight| {
                    let (leading, rank) = lead(graph, weight)?;
                    let fits = widths.iter().any(|&width| leading > 1 && width % leading == 0);
                    (rank >= 3 && fits).then_some((weight, leading))
                })
                .next()
        };
        if let Some((weight, width)) = exact.or_else(by_slots) {
            found.push((id, weight, width));
        }
    }
    found
}

/// Weights that are looked up by something that depends on the choice.
fn gathered_weights(
    graph: &ModelGraph<'_>,
    region: &Region,
    cone: &FastSet<ValueId>,
    widths: &[i64],
) -> Vec<(NodeId, ValueId, i64)> {
    let looks_up = |id: &NodeId| {
        let node = graph.node(*id);
        if !matches!(node.op, "Gather" | "GatherND" | "GatherElements") {
            return None;
        }
        let (data, indices) = (node.input(0)?, node.input(1)?);
        let (leading, rank) = lead(graph, data)?;
        let width = widths.iter().copied().find(|&width| width == leading)?;
        (rank >= 2 && cone.contains(&indices) && is_weight(graph, data)).then_some((*id, data, width))
    };
    region.nodes.iter().filter_map(looks_up).collect()
}

/// Weights of all experts of which a loop's body takes one in each iteration.
fn looped_weights(graph: &ModelGraph<'_>, region: &Region, widths: &[i64]) -> Option<Vec<(NodeId, ValueId, i64)>> {
    let takes = |id: &NodeId| {
        let node = graph.node(*id);
        let (data, index) = match node.op {
            "Gather" => (node.input(0)?, Some(node.input(1)?)),
            Node::SLICE => (node.input(0)?, None),
            _ => return None,
        };
        let counted = index.is_none_or(|index| graph.op_of(skip_constant(graph, index)) == Node::COUNTER);
        let (leading, rank) = lead(graph, data)?;
        let width = widths.iter().copied().find(|&width| width == leading)?;
        (counted && rank >= 2 && is_weight(graph, data)).then_some((*id, data, width))
    };
    let found: Vec<_> = region_and_constants(graph, region).iter().filter_map(takes).collect();
    found.iter().any(|(_, weight, _)| lead(graph, *weight).is_some_and(|(_, rank)| rank >= 3)).then_some(found)
}

/// Constants inside a loop's body depend on the counter only, which is no data; they are the inputs of the region's nodes.
fn region_and_constants(graph: &ModelGraph<'_>, region: &Region) -> Vec<NodeId> {
    let mut nodes = region.nodes.clone();
    let mut stack: Vec<NodeId> = nodes.clone();
    let mut seen: FastSet<NodeId> = nodes.iter().copied().collect();
    while let Some(id) = stack.pop() {
        for input in graph.data_inputs(graph.node(id)) {
            if let Some(before) = graph.producer(input).filter(|_| !graph.value(input).is_data)
                && seen.insert(before)
            {
                nodes.push(before);
                stack.push(before);
            }
        }
    }
    nodes
}

fn skip_constant(graph: &ModelGraph<'_>, value: ValueId) -> ValueId {
    skip_passive(graph, value)
}

/// Whether a node lies in the body of a loop.
fn is_looped(graph: &ModelGraph<'_>, id: NodeId) -> bool {
    let Some(output) = graph.node(id).output(0) else { return false };
    let mut scope = graph.scope(graph.value(output).scope);
    loop {
        if scope.body == Some("body") {
            return true;
        }
        match scope.parent {
            Some(parent) => scope = graph.scope(parent),
            None => return false,
        }
    }
}
