//! From a choice back to the gate logits that it is made on.

use super::report::ScoreFunction;
use crate::model::graph::{ModelGraph, Node, NodeId, ValueId, is_product, normal_axis};

/// Longer ways from logits to a choice do not occur.
const MAX_STEPS: usize = 96;

/// Where a choice comes from.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    /// The value that a product of weights and data gave: the same for everything that is decided on it.
    pub raw: ValueId,
    /// `raw` after bias, temperature and noise: what the first function of the rule takes.
    pub logits: ValueId,
    /// The two choices among half keys, where scores are sums of pairs of their values.
    pub half_keys: Option<[NodeId; 2]>,
}

/// Operators that leave every element as it is, or put it elsewhere.
pub(super) fn is_passive(op: &str) -> bool {
    matches!(
        op,
        "Identity"
            | "Cast"
            | "CastLike"
            | "Reshape"
            | "Transpose"
            | "Squeeze"
            | "Unsqueeze"
            | "Flatten"
            | "Dropout"
            | "Expand"
            | "Tile"
            | "QuantizeLinear"
            | "DequantizeLinear"
            | "Clip"
            | "If"
            | Node::CARRY
            | Node::LAST
    )
}

/// The function that optimisers put into a product: its output are scores, and no tensor has the logits.
pub(super) fn fused_function(graph: &ModelGraph<'_>, value: ValueId) -> ScoreFunction {
    let Some((_, node)) = graph.producing(value) else { return ScoreFunction::None };
    let fused = node.op.starts_with("Fused") && graph.text(node, "activation") == Some("Sigmoid");
    if fused { ScoreFunction::Sigmoid } else { ScoreFunction::None }
}

/// Follows `value`, which something chooses from, back to the logits.
pub(super) fn trace(graph: &ModelGraph<'_>, value: ValueId) -> Trace {
    let mut at = value;
    let mut logits = value;
    let mut half_keys = None;
    for _ in 0..MAX_STEPS {
        let Some((_, node)) = graph.producing(at) else { break };
        let Some(step) = step_back(graph, node) else { break };
        // A bias, a temperature or noise belongs to the logits only as long as no function was applied before.
        if !step.keeps_logits {
            logits = step.to;
        }
        half_keys = half_keys.or(step.half_keys);
        at = step.to;
    }
    Trace { raw: skip_passive(graph, at), logits: skip_casts(graph, logits), half_keys }
}

/// Whether a function of the rule was applied on the way from the logits to `value`.
pub(in crate::model) fn is_scored(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    trace(graph, value).logits != skip_casts(graph, value)
}

/// One step toward the logits.
struct StepBack {
    to: ValueId,
    /// Whether the value after the step is logits if the value before it is.
    keeps_logits: bool,
    half_keys: Option<[NodeId; 2]>,
}

fn step_back(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<StepBack> {
    let step = |to: ValueId, keeps_logits| Some(StepBack { to, keeps_logits, half_keys: None });
    let data = |index: usize| node.input(index).filter(|&input| graph.value(input).is_data);
    match node.op {
        "If" => step(data(1).or(data(2))?, true),
        op if is_passive(op) => step(data(0)?, true),
        // The nearer, the better: a distance is turned round before it is a logit.
        "Neg" => step(data(0)?, true),
        "Softmax" | "LogSoftmax" | "Sigmoid" | "HardSigmoid" | "Softplus" | "Sqrt" | "Exp" | "Log" | "Abs"
        | "GatherElements" | "GatherND" | "TopK" | "SplitToSequence" | "SequenceAt" | "Relu" | "Tanh" | "Pow" => {
            step(data(0)?, false)
        }
        "Gather" | "Slice" | "Split" if is_fixed_pick(graph, node) => step(data(0)?, false),
        op if op.starts_with("Reduce") => {
            if distance_to(graph, node).is_some() {
                return None;
            }
            step(data(0)?, false)
        }
        "ScatterElements" | "ScatterND" | "Scatter" => step(data(0).or(data(2))?, false),
        "Where" => step(pick(graph, data(1), data(2))?, false),
        "Min" | "Max" => step(pick(graph, data(0), data(1))?, false),
        "Add" | "Sub" | "Mul" | "Div" => {
            let half_keys = half_keys(graph, node);
            let to = pick(graph, data(0), data(1))?;
            let other = if data(0) == Some(to) { node.input(1) } else { node.input(0) };
            let keeps_logits =
                half_keys.is_none() && other.is_some_and(|other| is_part_of_logits(graph, node, to, other));
            Some(StepBack { to, keeps_logits, half_keys })
        }
        _ => None,
    }
}

/// What a sum of differences to vectors that the file holds, or of products with them, is computed from: the distance to
/// each expert's vector, written out.
pub(super) fn distance_to(graph: &ModelGraph<'_>, sum: &Node<'_>) -> Option<ValueId> {
    /// A square, its root, an absolute value.
    const MAX_FUNCTIONS: usize = 4;
    if !matches!(sum.op, "ReduceSum" | "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare") {
        return None;
    }
    let mut value = sum.input(0)?;
    for _ in 0..MAX_FUNCTIONS {
        let (_, node) = graph.producing(value)?;
        let (a, b) = (node.input(0)?, node.input(1));
        match (node.op, b) {
            ("Sub" | "Mul", Some(b)) if a != b => {
                let is_list = |value: ValueId| {
                    let long = |shape: &[i64]| shape.iter().filter(|&&size| size > 1).count();
                    !graph.value(value).is_data && graph.shape(value).is_some_and(|shape| long(shape) >= 2)
                };
                return if is_list(b) { Some(a) } else { is_list(a).then_some(b) };
            }
            ("Pow" | "Mul" | "Abs" | "Sqrt", _) => value = a,
            (op, _) if is_passive(op) => value = a,
            _ => return None,
        }
    }
    None
}

/// Whether noise is added between a product and the logits that are made of it.
pub(super) fn has_noise(graph: &ModelGraph<'_>, raw: ValueId, logits: ValueId) -> bool {
    let mut at = logits;
    for _ in 0..MAX_STEPS {
        let Some((_, node)) = graph.producing(at).filter(|_| at != raw) else { return false };
        if matches!(node.op, "Add" | "Sub") && node.inputs.iter().flatten().any(|&input| is_noise(graph, input)) {
            return true;
        }
        let Some(step) = step_back(graph, node) else { return false };
        at = step.to;
    }
    false
}

/// Of two operands, the one that the scores are in.
fn pick(graph: &ModelGraph<'_>, a: Option<ValueId>, b: Option<ValueId>) -> Option<ValueId> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let worth = |value: ValueId| {
        let value = skip_passive(graph, value);
        let op = graph.op_of(value);
        let from_scores =
            is_product(op) || matches!(op, "Softmax" | "Sigmoid" | "TopK" | "Exp" | "Sqrt" | "LogSoftmax");
        let width = graph.shape(value).map_or(0, |shape| shape.last().copied().unwrap_or(1).max(0));
        (!is_mask(graph, value) && !is_noise(graph, value), from_scores, width)
    };
    Some(if worth(b) > worth(a) { b } else { a })
}

/// Whether an addition or factor is a part of what makes the logits: bias, temperature, noise, or the scale of a
/// quantised product.
fn is_part_of_logits(graph: &ModelGraph<'_>, node: &Node<'_>, scores: ValueId, other: ValueId) -> bool {
    let before = skip_passive(graph, scores);
    let scalar = graph.num_elements(other) == Some(1);
    match node.op {
        // A bias of its own, used for the choice only, is added beside another use of the same scores.
        "Add" if !graph.value(other).is_data => {
            scalar || graph.data_consumers(before).count() <= 1 && graph.data_consumers(scores).count() <= 1
        }
        "Mul" | "Div" => {
            scalar || graph.op_of(before).ends_with("Integer") || !graph.value(other).is_data && !is_mask(graph, other)
        }
        "Add" | "Sub" => is_noise(graph, other),
        _ => false,
    }
}

/// Whether scores are sums of all pairs of two choices' values.
fn half_keys(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<[NodeId; 2]> {
    let chosen = |index: usize| {
        let mut value = skip_passive(graph, node.input(index)?);
        if matches!(graph.op_of(value), "Gather" | "Split" | "Slice") {
            value = skip_passive(graph, graph.producing(value)?.1.input(0)?);
        }
        graph.producer(value).filter(|&id| graph.node(id).op == "TopK")
    };
    (node.op == "Add").then_some(())?;
    Some([chosen(0)?, chosen(1)?])
}

/// A value seen through operators that leave its elements as they are.
pub(super) fn skip_passive(graph: &ModelGraph<'_>, mut value: ValueId) -> ValueId {
    for _ in 0..MAX_STEPS {
        let Some((_, node)) = graph.producing(value) else { break };
        let index = usize::from(node.op == "If");
        match node.input(index) {
            Some(input) if is_passive(node.op) => value = input,
            _ => break,
        }
    }
    value
}

/// A value seen through casts.
fn skip_casts(graph: &ModelGraph<'_>, mut value: ValueId) -> ValueId {
    while let Some((_, node)) = graph.producing(value) {
        match node.input(0) {
            Some(input) if matches!(node.op, "Cast" | "Identity" | "CastLike") => value = input,
            _ => break,
        }
    }
    value
}

/// The axis of experts of `logits`, followed from the product that made them: its last, or the channels of a
/// convolution. `None` where a reshape mixes it with others.
pub(super) fn expert_axis(graph: &ModelGraph<'_>, raw: ValueId, logits: ValueId) -> Option<usize> {
    let mut way = Vec::new();
    let mut at = logits;
    while at != raw && way.len() < MAX_STEPS {
        let (id, node) = graph.producing(at)?;
        let before = step_back(graph, node)?.to;
        way.push((id, before, at));
        at = before;
    }
    let rank = graph.shape(raw)?.len();
    let mut axis = product_axis(graph, raw, rank)?;
    for (id, from, to) in way.into_iter().rev() {
        let node = graph.node(id);
        axis = if is_passive(node.op) {
            moved_axis(graph, node, from, to, axis)?
        } else {
            graph.shape(to)?.len().checked_sub(graph.shape(from)?.len() - axis)?
        };
    }
    Some(axis)
}

/// The axis of a product's output that its weights made.
fn product_axis(graph: &ModelGraph<'_>, raw: ValueId, rank: usize) -> Option<usize> {
    let Some((_, node)) = graph.producing(raw) else { return rank.checked_sub(1) };
    match node.op {
        "Conv" | "FusedConv" | "ConvInteger" | "QLinearConv" => Some(1),
        // Weights on the left give the experts as rows.
        "MatMul" if node.input(0).is_some_and(|left| !graph.value(left).is_data) => rank.checked_sub(2),
        "Einsum" => einsum_axis(graph, node).or(rank.checked_sub(1)),
        _ => rank.checked_sub(1),
    }
}

/// The axis of an `Einsum` that its weights have and its data do not.
fn einsum_axis(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<usize> {
    let equation: String = graph.text(node, "equation")?.split_whitespace().collect();
    let (terms, result) = equation.split_once("->").filter(|_| !equation.contains('.'))?;
    let (mut of_weights, mut of_data) = (String::new(), String::new());
    for (term, input) in terms.split(',').zip(node.inputs.iter().flatten()) {
        if graph.value(*input).is_data { &mut of_data } else { &mut of_weights }.push_str(term);
    }
    result.chars().position(|axis| of_weights.contains(axis) && !of_data.contains(axis))
}

/// The width of a product as its weights tell it.
pub(super) fn product_width(graph: &ModelGraph<'_>, raw: ValueId) -> Option<i64> {
    let (_, node) = graph.producing(raw)?;
    let weight = graph.shape(node.input(1).filter(|&weight| !graph.value(weight).is_data)?)?;
    let size = match node.op {
        "Conv" | "FusedConv" => weight.first(),
        "Gemm" if graph.int(node, "transB") == Some(1) => weight.first(),
        "MatMul" | "Gemm" | "MatMulInteger" => weight.last(),
        _ => None,
    };
    size.copied().filter(|&size| size > 0)
}

/// Where an axis goes when elements are put elsewhere.
pub(super) fn moved_axis(
    graph: &ModelGraph<'_>,
    node: &Node<'_>,
    input: ValueId,
    output: ValueId,
    axis: usize,
) -> Option<usize> {
    let (from, to) = (graph.shape(input)?, graph.shape(output)?);
    let same_place = || from.len() == to.len() && from.get(axis) == to.get(axis);
    match node.op {
        "Transpose" => match graph.ints(node, "perm") {
            Some(perm) => perm.iter().position(|&p| p as usize == axis),
            None => from.len().checked_sub(axis + 1),
        },
        "Unsqueeze" | "Squeeze" => {
            let axes = match (node.input(1), graph.ints(node, "axes")) {
                (Some(axes), _) => graph.const_ints(axes)?,
                (None, Some(axes)) => axes.to_vec(),
                (None, None) => return reshaped_axis(from, to, axis),
            };
            let longer = from.len().max(to.len());
            let axes: Vec<usize> = axes.iter().filter_map(|&axis| normal_axis(axis, longer)).collect();
            let mut kept = (0..longer).filter(|axis| !axes.contains(axis));
            if node.op == "Unsqueeze" { kept.nth(axis) } else { kept.position(|kept| kept == axis) }
        }
        "Reshape" | "Flatten" => reshaped_axis(from, to, axis),
        _ if same_place() => Some(axis),
        "Expand" | "Tile" => to.len().checked_sub(from.len() - axis),
        _ => reshaped_axis(from, to, axis),
    }
}

/// The axis of the same size with as many elements behind it.
fn reshaped_axis(from: &[i64], to: &[i64], axis: usize) -> Option<usize> {
    let behind = |shape: &[i64], axis: usize| {
        shape[axis + 1..]
            .iter()
            .try_fold(1_i64, |product, &size| if size < 0 { None } else { product.checked_mul(size) })
    };
    let size = *from.get(axis)?;
    match behind(from, axis) {
        Some(rest) => (0..to.len()).rev().find(|&other| to[other] == size && behind(to, other) == Some(rest)),
        None => (axis == 0 && to.first() == Some(&size)).then_some(0),
    }
}

/// Whether a value is made of truth values, one-hot vectors or filled tensors.
pub(super) fn is_mask(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    let mut value = value;
    for _ in 0..12 {
        if graph.value(value).element == 9 {
            return true;
        }
        let Some((_, node)) = graph.producing(value) else { return false };
        let operand = |index: usize| node.input(index).filter(|&input| graph.value(input).is_data);
        value = match node.op {
            "OneHot" => return true,
            "Where" => match (operand(1), operand(2)) {
                (None, None) => return true,
                _ => return false,
            },
            "ScatterElements" | "ScatterND" => match (operand(0), operand(2)) {
                (None, None) => return true,
                (Some(data), None) => data,
                _ => return false,
            },
            op if is_passive(op) => match operand(0) {
                Some(input) => input,
                None => return false,
            },
            "Sub" | "Mul" | "Add" | "Neg" | "ReduceSum" | "ReduceMax" => match (operand(0), operand(1)) {
                (Some(input), None) | (None, Some(input)) => input,
                _ => return false,
            },
            _ => return false,
        };
    }
    false
}

/// Whether a value is random, perhaps scaled by something learned.
pub(super) fn is_noise(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    let mut stack = vec![(value, 0)];
    while let Some((value, depth)) = stack.pop() {
        let Some((_, node)) = graph.producing(value) else { continue };
        if node.op.starts_with("Random") || node.op == "Bernoulli" {
            return true;
        }
        if depth < 6 && (is_passive(node.op) || matches!(node.op, "Mul" | "Log" | "Neg" | "Add" | "Sub" | "Div")) {
            stack.extend(node.inputs.iter().flatten().map(|&input| (input, depth + 1)));
        }
    }
    false
}

/// Whether a node picks by a constant index: one expert's column, or one of two half keys.
fn is_fixed_pick(graph: &ModelGraph<'_>, node: &Node<'_>) -> bool {
    match node.op {
        "Gather" => node.input(1).is_some_and(|index| graph.const_int(index).is_some()),
        _ => true,
    }
}
