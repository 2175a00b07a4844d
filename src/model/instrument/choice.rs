//! The node that chooses, and where the weights of what it chose come from, looked up behind a router's tensors.

use super::Obstacle;
use crate::model::graph::{ModelGraph, Node, NodeId, ValueId, is_float, normal_axis};
use crate::model::routers::{
    ExpertForm, GatingRule, PlaceStep, Router, ScoreFunction, TensorRef, TopKSource, is_scored, place,
};

/// Longer ways from a choice to the tensor that shows it do not occur.
const MAX_STEPS: usize = 16;

/// A node of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub place: Vec<PlaceStep>,
    /// Its index in the list of nodes there.
    pub node: usize,
}

/// How a vector with an element per expert (or per rank) lies along a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Along {
    /// The axis, counted from the end: −1 is the last.
    pub axis: i64,
    /// `TensorProto.DataType` of the tensor.
    pub element: i32,
}

/// A choice among experts.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub spot: Spot,
    pub is_top_k: bool,
    /// The scores that it chooses from.
    pub scores: Along,
    /// Nodes that take the largest score, which is an `ArgMax`'s weight.
    pub maxima: Vec<Spot>,
    /// The weights of the chosen experts, as they are before anything is made of them.
    pub picks: Option<Picks>,
    /// The largest k that the rule allows.
    pub max_k: usize,
    /// Fewer are used than are chosen.
    pub cut: bool,
}

/// Weights, or logits, of the chosen experts: the first output of a node.
#[derive(Clone, Debug)]
pub(super) struct Picks {
    pub spot: Spot,
    pub along: Along,
    /// Whether a function of the rule was applied to them already; else they are logits.
    pub scored: bool,
}

/// The choice of a router.
///
/// # Errors
/// Why there is none that could be changed.
pub(super) fn choice(graph: &ModelGraph<'_>, router: &Router) -> Result<Choice, Obstacle> {
    use GatingRule as Rule;
    match router.rule {
        Rule::Soft | Rule::SoftMoe => return Err(Obstacle::NoChoice),
        Rule::ExpertChoice => return Err(Obstacle::OfTokens),
        Rule::TopP | Rule::Threshold => return Err(Obstacle::ByScores),
        _ if router.experts.form == ExpertForm::Operator => return Err(Obstacle::Operator),
        _ if router.frozen => return Err(Obstacle::Frozen),
        _ => {}
    }
    let half_keys = router.rule == Rule::ProductKey;
    let ids = router.tensors.expert_ids.as_ref().and_then(|ids| find(graph, ids)).ok_or(match router.top_k_source {
        TopKSource::None => Obstacle::NoChoice,
        TopKSource::Operator => Obstacle::SeveralSteps,
        _ => Obstacle::Unseen,
    })?;
    let Chooser { node: id, ids, cut } = chooser(graph, ids, half_keys)?;
    let node = graph.node(id);
    let is_top_k = node.op == "TopK";
    let scores = node.input(0).ok_or(Obstacle::Unseen)?;
    if is_top_k && (node.input(1).is_none() || graph.int(node, "largest") == Some(0)) {
        return Err(Obstacle::Unseen);
    }
    if is_top_k && is_compared(graph, node) {
        return Err(Obstacle::Compared);
    }
    let axis = graph.int(node, "axis").unwrap_or(if is_top_k { -1 } else { 0 });
    let along = along(graph, scores, axis).ok_or(Obstacle::UnknownType)?;
    let among = graph.size_from_end(scores, along.axis);
    if !half_keys && among != i64::try_from(router.num_experts).ok() {
        return Err(Obstacle::Unseen);
    }
    let max_k = match &router.groups {
        // The best pairs are only known to be among the pairs of as many half keys as were chosen.
        _ if half_keys => router.top_k.unwrap_or(1),
        Some(groups) => groups.kept * (router.num_experts / groups.n.max(1)),
        None => router.num_experts,
    };
    let spot = spot(graph, id).ok_or(Obstacle::Unseen)?;
    let maxima = if is_top_k { Vec::new() } else { maxima(graph, scores, along.axis) };
    let mut picks = if is_top_k { picks(graph, node, ids, along, among) } else { None };
    if let Some(picks) = picks.as_mut().filter(|_| half_keys) {
        // Sums of two halves' logits, until a function follows.
        picks.scored = router.score == ScoreFunction::None;
    }
    Ok(Choice { spot, is_top_k, scores: along, maxima, picks, max_k, cut })
}

/// k, where it is a constant that an input can take the place of.
pub(super) fn constant_k(router: &Router, choice: &Choice) -> Result<usize, Obstacle> {
    match &router.top_k_source {
        _ if !choice.is_top_k => Err(Obstacle::BestOnly),
        _ if choice.cut => Err(Obstacle::Cut),
        TopKSource::Constant => router.top_k.ok_or(Obstacle::Computed),
        TopKSource::Input { name } => Err(Obstacle::OwnInput { input: name.clone() }),
        TopKSource::Operator => Err(Obstacle::BestOnly),
        TopKSource::None | TopKSource::Attribute | TopKSource::Computed => Err(Obstacle::Computed),
    }
}

/// The value that a reference means.
fn find(graph: &ModelGraph<'_>, tensor: &TensorRef) -> Option<ValueId> {
    graph.value_ids().find(|&id| {
        let value = graph.value(id);
        value.name == tensor.name && place(graph, value.scope) == tensor.place
    })
}

/// What chose.
struct Chooser {
    node: NodeId,
    /// Its output of chosen experts.
    ids: ValueId,
    /// Some of those are cut off afterwards.
    cut: bool,
}

/// The node that chose, behind a tensor that shows what it chose.
fn chooser(graph: &ModelGraph<'_>, shown: ValueId, half_keys: bool) -> Result<Chooser, Obstacle> {
    let mut value = shown;
    let mut cut = false;
    for _ in 0..MAX_STEPS {
        let (id, node) = graph.producing(value).ok_or(Obstacle::Unseen)?;
        let next = match node.op {
            "TopK" if node.output(1) == Some(value) => return Ok(Chooser { node: id, ids: value, cut }),
            "ArgMax" => return Ok(Chooser { node: id, ids: value, cut }),
            "Concat" | "Where" => return Err(Obstacle::SeveralSteps),
            "GatherElements" | "Gather" | "GatherND" if half_keys => node.input(1),
            "Slice" | "Split" => {
                cut = true;
                node.input(0)
            }
            "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" | "Flatten" => node.input(0),
            _ => None,
        };
        value = next.ok_or(Obstacle::Unseen)?;
    }
    Err(Obstacle::Unseen)
}

/// Whether scores are compared with what a choice gave, as where whatever reaches the k-th score is taken.
fn is_compared(graph: &ModelGraph<'_>, chooser: &Node<'_>) -> bool {
    let scores = chooser.input(0);
    let sizes = scores.and_then(|scores| graph.shape(scores));
    let is_scores = |value: ValueId| Some(value) == scores || sizes.is_some() && graph.shape(value) == sizes;
    let mut value = chooser.output(0);
    for _ in 0..MAX_STEPS {
        let Some(values) = value else { return false };
        let readers: Vec<&Node<'_>> = graph.consumers(values).iter().map(|&id| graph.node(id)).collect();
        let with_scores = |node: &&&Node<'_>| {
            let compares = matches!(node.op, "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual");
            compares && node.inputs.iter().flatten().any(|&input| is_scores(input))
        };
        if readers.iter().any(|node| with_scores(&node)) {
            return true;
        }
        // The least of those that were chosen, as a column.
        let cuts = |node: &&&Node<'_>| {
            matches!(
                node.op,
                "Slice" | "Gather" | "ReduceMin" | "Split" | "Unsqueeze" | "Squeeze" | "Reshape" | "Expand"
            )
        };
        value = readers.iter().find(|node| cuts(node)).and_then(|node| node.output(0));
    }
    false
}

fn spot(graph: &ModelGraph<'_>, id: NodeId) -> Option<Spot> {
    let (scope, node) = graph.node(id).stands?;
    Some(Spot { place: place(graph, scope), node: node as usize })
}

fn along(graph: &ModelGraph<'_>, tensor: ValueId, axis: i64) -> Option<Along> {
    let element = graph.value(tensor).element;
    let axis = if axis < 0 {
        axis
    } else {
        let rank = graph.shape(tensor)?.len();
        normal_axis(axis, rank)? as i64 - rank as i64
    };
    is_float(element).then_some(Along { axis, element })
}

/// The nodes that take the largest of the same scores.
fn maxima(graph: &ModelGraph<'_>, scores: ValueId, axis: i64) -> Vec<Spot> {
    let rank = graph.shape(scores).map_or(0, <[i64]>::len) as i64;
    let same = |node: &Node<'_>| {
        node.op == "ReduceMax" && graph.reduced_axes(node).is_some_and(|axes| axes == [(rank + axis) as usize])
    };
    let readers = graph.consumers(scores).iter().copied();
    readers.filter(|&id| same(graph.node(id))).filter_map(|id| spot(graph, id)).collect()
}

/// Where the weights come from: scores looked up by the ids, else the values that the choice itself gives.
fn picks(graph: &ModelGraph<'_>, node: &Node<'_>, ids: ValueId, along: Along, among: Option<i64>) -> Option<Picks> {
    let looks_up = |id: &&NodeId| {
        let reader = graph.node(**id);
        let data = reader.input(0).filter(|&data| is_float(graph.value(data).element));
        reader.op == "GatherElements"
            && reader.input(1) == Some(ids)
            && data.is_some_and(|data| graph.size_from_end(data, along.axis) == among)
    };
    let (id, source) = match graph.consumers(ids).iter().find(looks_up) {
        Some(&reader) => (reader, graph.node(reader).input(0)?),
        None => {
            let values = node.output(0)?;
            let is_read = !graph.consumers(values).is_empty() || graph.value(values).is_output;
            (graph.producer(values).filter(|_| is_read)?, node.input(0)?)
        }
    };
    let along = Along { element: graph.value(source).element, ..along };
    Some(Picks { spot: spot(graph, id)?, along, scored: is_scored(graph, source) })
}

/// Whether anything is computed in float16 or bfloat16.
pub(super) fn computes_in_half(graph: &ModelGraph<'_>) -> bool {
    const FLOAT16: i32 = 10;
    const BFLOAT16: i32 = 16;
    graph.value_ids().any(|id| {
        let value = graph.value(id);
        value.is_data && matches!(value.element, FLOAT16 | BFLOAT16)
    })
}
