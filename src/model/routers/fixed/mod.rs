//! Experts that no gate chooses: a fixed rule says which tokens each of them takes. VLMo and BEiT-3 have a network for each
//! kind of tokens, which stand one behind the other; CogVLM asks the types of tokens, an input; a hash layer (Roller et al.
//! 2021, arXiv:2106.04426) looks the expert up in a table by the token's id. Without a word about them such models would
//! seem to have no experts at all.
//!
//! What shows them: several networks, alike but for their weights, read the same data, each only its tokens, and what they
//! give is put together again; and what picks the tokens depends on nothing that the model computes from its features.

pub(super) mod report;
mod takes;

use super::names::{node_name, weight_len, weights_of};
use super::report::{FixedExpert, FixedRouting, Takes};
use super::scores::skip_passive;
use crate::model::graph::{FastMap, FastSet, ModelGraph, Node, NodeId, ValueId, is_float, is_product};

/// A network between the place where its tokens are picked and the place where they are put back.
const MAX_NODES: usize = 64;

/// Experts of one layer; what puts more parts together puts no experts together.
const MAX_EXPERTS: usize = 256;

/// Finds the layers of a graph that route by a fixed rule, in the order in which they run. `chosen` are the weights of the
/// experts that routers choose.
pub(super) fn find(graph: &ModelGraph<'_>, chosen: &FastSet<ValueId>) -> Vec<FixedRouting> {
    let decided = Decided::new(graph);
    let mut found = Vec::new();
    let mut seen: FastSet<Vec<ValueId>> = FastSet::default();
    for id in graph.node_ids() {
        let Some(parts) = parts(graph, id) else { continue };
        let Some(layer) = Layer::new(graph, &decided, id, &parts) else { continue };
        let is_chosen = |&weight: &ValueId| weights_of(graph, weight).iter().any(|root| chosen.contains(root));
        if layer.weights().iter().any(is_chosen) {
            continue;
        }
        // A chain that goes on puts the same experts together, and some more.
        if seen.insert(layer.weights()) {
            found.push(FixedRouting { layer: found.len(), ..layer.routing(graph) });
        }
    }
    found
}

/// Values that depend on something that the model computes from features: numbers of its inputs, or what it looked up for
/// them. Integers that come from inputs and tables alone do not.
struct Decided(Vec<bool>);

impl Decided {
    fn new(graph: &ModelGraph<'_>) -> Self {
        let mut decided = vec![false; graph.num_values()];
        for &input in graph.inputs() {
            decided[input.index()] = is_feature(graph, input);
        }
        for id in graph.node_ids() {
            let node = graph.node(id);
            let reads = graph.data_inputs(node).any(|input| decided[input.index()]);
            for &output in &node.outputs {
                decided[output.index()] = graph.value(output).is_data && (reads || is_feature(graph, output));
            }
        }
        Self(decided)
    }

    fn is_fixed(&self, value: ValueId) -> bool {
        !self.0[value.index()]
    }
}

fn is_feature(graph: &ModelGraph<'_>, value: ValueId) -> bool {
    let of = graph.value(value);
    of.is_data && (is_float(of.element) || of.element == 0)
}

/// What a node puts together, if it may be what experts gave: parts side by side, parts written where their tokens were, or
/// one of two for each token.
fn parts(graph: &ModelGraph<'_>, id: NodeId) -> Option<Vec<ValueId>> {
    let node = graph.node(id);
    let features = |value: &ValueId| is_feature(graph, *value);
    let parts: Vec<ValueId> = match node.op {
        "Concat" => node.inputs.iter().flatten().copied().filter(features).collect(),
        "Where" => [node.input(1)?, node.input(2)?].into_iter().filter(features).collect(),
        op if op.starts_with("Scatter") => {
            let is_last = |output: ValueId| {
                let mut readers = graph.data_consumers(output);
                !readers.any(|reader| graph.node(reader).op == op && graph.node(reader).input(0) == Some(output))
            };
            if !node.output(0).is_some_and(is_last) {
                return None;
            }
            chain(graph, node)
        }
        _ => return None,
    };
    let all = node.op.starts_with("Scatter") || node.op == "Where" || parts.len() == node.inputs.len();
    (all && (2..=MAX_EXPERTS).contains(&parts.len())).then_some(parts)
}

/// What was written one after the other, the first first.
fn chain(graph: &ModelGraph<'_>, last: &Node<'_>) -> Vec<ValueId> {
    let mut parts = Vec::new();
    let mut node = last;
    while let Some(update) = node.input(2)
        && parts.len() <= MAX_EXPERTS
    {
        parts.push(update);
        match node.input(0).and_then(|before| graph.producing(before)) {
            Some((_, before)) if before.op == last.op => node = before,
            _ => break,
        }
    }
    parts.reverse();
    parts
}

/// One expert: the nodes between the data that all read and what it gives.
struct Branch {
    nodes: Vec<NodeId>,
    weights: Vec<ValueId>,
    /// The node that picks its tokens.
    picks: Option<NodeId>,
    /// What that gives.
    picked: Option<ValueId>,
}

/// Experts that are put together at one node.
struct Layer {
    merge: NodeId,
    branches: Vec<Branch>,
    /// What says, for two experts, which of them a token takes.
    mask: Option<ValueId>,
}

impl Layer {
    fn new(graph: &ModelGraph<'_>, decided: &Decided, merge: NodeId, parts: &[ValueId]) -> Option<Self> {
        let common = common_source(graph, parts).filter(|&common| !is_buffer(graph, decided, common))?;
        let node = graph.node(merge);
        let mask = node.input(0).filter(|&mask| node.op == "Where" && decided.is_fixed(mask));
        if node.op == "Where" && !mask.is_some_and(|mask| graph.value(mask).is_data) {
            return None;
        }
        let branches: Vec<Branch> =
            parts.iter().map(|&part| Branch::new(graph, decided, part, common)).collect::<Option<_>>()?;
        let built = |branch: &Branch| {
            let mut built: Vec<&[i64]> = branch.weights.iter().filter_map(|&weight| graph.shape(weight)).collect();
            built.sort_unstable();
            built.into_iter().map(<[i64]>::to_vec).collect::<Vec<_>>()
        };
        let alike = branches.windows(2).all(|pair| built(&pair[0]) == built(&pair[1]));
        let mut seen = FastSet::default();
        let distinct = branches.iter().flat_map(|branch| &branch.weights).all(|&weight| seen.insert(weight));
        let all_pick = mask.is_some() || branches.iter().all(|branch| branch.picks.is_some());
        (alike && distinct && all_pick).then_some(Self { merge, branches, mask })
    }

    fn weights(&self) -> Vec<ValueId> {
        self.branches.iter().flat_map(|branch| branch.weights.iter().copied()).collect()
    }

    /// The part of the module path that the weights of the first two experts have in common.
    fn name(&self, graph: &ModelGraph<'_>) -> Option<String> {
        let path = |branch: &Branch| {
            let inputs = branch.nodes.iter().flat_map(|&id| graph.node(id).inputs.iter().flatten().copied());
            let mut names = inputs.filter(|&input| !graph.value(input).is_data).map(|input| graph.value(input).name);
            names.find(|name| name.contains('.')).map(|name| name.split('.').map(str::to_owned).collect::<Vec<_>>())
        };
        let (first, second) = (path(&self.branches[0])?, path(&self.branches[1])?);
        let common: Vec<String> = first.into_iter().zip(second).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
        (!common.is_empty()).then(|| common.join("."))
    }

    fn routing(&self, graph: &ModelGraph<'_>) -> FixedRouting {
        let takes = |n: usize, branch: &Branch| match (self.mask, branch.picks) {
            (Some(mask), _) => takes::by_mask(graph, mask, n == 0),
            (None, Some(picks)) => takes::by(graph, picks, branch.picked),
            (None, None) => Takes::Computed { tensor: None },
        };
        let expert = |(n, branch): (usize, &Branch)| {
            let roots = branch.weights.iter().flat_map(|&weight| weights_of(graph, weight));
            let weights = roots.map(|root| graph.value(root).name.to_owned()).collect();
            FixedExpert { takes: takes(n, branch), weights }
        };
        let experts: Vec<FixedExpert> = self.branches.iter().enumerate().map(expert).collect();
        let index = self.mask.or_else(|| graph.node(self.branches[0].picks?).input(1));
        FixedRouting {
            name: self.name(graph).unwrap_or_else(|| node_name(graph, self.merge)),
            layer: 0,
            rule: takes::rule(graph, &experts, index),
            num_experts: experts.len(),
            parameters: self.weights().iter().map(|&weight| weight_len(graph, weight)).sum(),
            evidence: evidence(graph, self),
            experts,
        }
    }
}

fn evidence(graph: &ModelGraph<'_>, layer: &Layer) -> Vec<String> {
    let picks: Vec<String> =
        layer.branches.iter().filter_map(|branch| Some(node_name(graph, branch.picks?))).take(4).collect();
    let mut sentences = Vec::new();
    if !picks.is_empty() {
        sentences.push(format!("Each network is given its tokens by {}.", picks.join(", ")));
    }
    sentences.push(format!("{} puts together what they give.", node_name(graph, layer.merge)));
    sentences
}

impl Branch {
    /// The network that ends at `part`, if it is one: layers of weights on the tokens of `common`, and nothing that mixes them.
    fn new(graph: &ModelGraph<'_>, decided: &Decided, part: ValueId, common: ValueId) -> Option<Self> {
        let mut branch = Self { nodes: Vec::new(), weights: Vec::new(), picks: None, picked: None };
        let mut waiting = vec![part];
        let mut seen: FastSet<NodeId> = FastSet::default();
        while let Some(value) = waiting.pop() {
            if value == common || decided.is_fixed(value) {
                continue;
            }
            let (id, node) = graph.producing(value)?;
            if !seen.insert(id) {
                continue;
            }
            if seen.len() > MAX_NODES || matches!(node.op, "Softmax" | "TopK" | "ArgMax") || node.op.contains("Conv") {
                return None;
            }
            branch.nodes.push(id);
            let features: Vec<ValueId> = graph.data_inputs(node).filter(|&input| !decided.is_fixed(input)).collect();
            if is_product(node.op) {
                let weights = node.inputs.iter().flatten().copied().filter(|&input| !graph.value(input).is_data);
                let weight =
                    weights.into_iter().find(|&weight| graph.shape(weight).is_some_and(|shape| shape.len() == 2));
                // What multiplies features with features mixes tokens.
                branch.weights.push(weight.filter(|_| features.len() == 1)?);
            }
            if picks_tokens(graph, node, features.len()) {
                (branch.picks, branch.picked) = (Some(id), Some(value));
            }
            waiting.extend(features);
        }
        branch.nodes.sort_unstable();
        (branch.weights.len() >= 2).then_some(branch)
    }
}

/// Whether a node takes some of the tokens, whichever index or mask says so: not some of their features, which lie last.
fn picks_tokens(graph: &ModelGraph<'_>, node: &Node<'_>, features: usize) -> bool {
    let rank = node.input(0).and_then(|data| graph.shape(data)).map_or(0, <[i64]>::len);
    let axis = |default: i64| graph.axis(node, default, rank);
    features == 1
        && match node.op {
            "Slice" => {
                let axes = node.input(3).and_then(|axes| graph.const_ints(axes));
                axes.is_some_and(|axes| axes.iter().all(|&axis| axis != -1 && axis + 1 != rank as i64))
            }
            "Split" | "Gather" | "Compress" => rank > 1 && axis(0).is_some_and(|axis| axis + 1 < rank),
            "GatherElements" => rank > 1,
            "GatherND" => {
                let depth = node.input(1).and_then(|index| graph.size_from_end(index, -1));
                depth.is_some_and(|depth| depth > 0 && depth < rank as i64)
            }
            _ => false,
        }
}

/// Whether features were put into places by something that was computed, as tokens are into the buffers of experts: then it
/// is that which decides, whatever is taken out of a buffer.
fn is_buffer(graph: &ModelGraph<'_>, decided: &Decided, value: ValueId) -> bool {
    let Some((_, node)) = graph.producing(skip_passive(graph, value)) else { return false };
    let is_computed = |input: ValueId| !decided.is_fixed(input);
    let by_index = node.op.starts_with("Gather") || node.op.starts_with("Scatter");
    is_product(node.op) && graph.data_inputs(node).filter(|&input| is_computed(input)).count() > 1
        || by_index && node.input(1).is_some_and(is_computed)
}

/// The last value that all parts are computed from.
fn common_source(graph: &ModelGraph<'_>, parts: &[ValueId]) -> Option<ValueId> {
    let mut times: FastMap<ValueId, usize> = FastMap::default();
    for &part in parts {
        let mut seen: FastSet<ValueId> = FastSet::default();
        let mut waiting = vec![part];
        while let Some(value) = waiting.pop() {
            if !is_feature(graph, value) || seen.len() > MAX_NODES || !seen.insert(value) {
                continue;
            }
            *times.entry(value).or_default() += 1;
            if let Some((_, node)) = graph.producing(value) {
                waiting.extend(graph.data_inputs(node));
            }
        }
    }
    let of_all = times.into_iter().filter(|(_, count)| *count == parts.len()).map(|(value, _)| value);
    of_all.max_by_key(|&value| graph.producer(value))
}
