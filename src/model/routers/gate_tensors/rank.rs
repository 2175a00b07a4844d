//! How likely a tensor is a gate: points for what makes it and for what decides on it, with the reasons in words.

use super::super::names::{node_name, weights_of};
use super::super::report::{GatingRule, RouterReport, ScoreFunction};
use super::super::scores::{expert_axis, fused_function, skip_passive};
use super::super::seeds::{Candidate, candidates};
use super::{GateValues, is_number_of_experts};
use crate::model::graph::{FastMap, ModelGraph, NodeId, ValueId, is_product};

/// Names that gates have, and names of what is often taken for one.
const GATE_WORDS: [&str; 6] = ["gate", "gating", "router", "routing", "expert", "moe"];
const OTHER_WORDS: [&str; 6] = ["attn", "attention", "norm", "head", "classifier", "pool"];

/// A value with what speaks for it.
pub(super) struct Ranked {
    pub points: i32,
    pub axis: usize,
    pub values: GateValues,
    pub rule: GatingRule,
    pub top_k: Option<usize>,
    pub near_miss: Option<String>,
    pub evidence: Vec<String>,
}

impl Ranked {
    /// A value that nothing is known to decide on: its name and what makes it.
    pub fn of_value(graph: &ModelGraph<'_>, value: ValueId, axis: usize) -> Self {
        let mut ranked = Self {
            points: -4,
            axis,
            values: GateValues::Logits,
            rule: GatingRule::SoftmaxThenTopK,
            top_k: Some(2),
            near_miss: None,
            evidence: Vec::new(),
        };
        ranked.weigh_source(graph, value);
        ranked.weigh_name(graph, value);
        ranked.weigh_operator(graph, value);
        ranked
    }

    fn add(&mut self, points: i32, evidence: impl Into<String>) {
        self.points += points;
        self.evidence.push(evidence.into());
    }

    /// A gate is a product of the tokens with weights; attention multiplies data with data.
    fn weigh_source(&mut self, graph: &ModelGraph<'_>, raw: ValueId) {
        let Some((_, node)) = graph.producing(raw).filter(|(_, node)| is_product(node.op)) else { return };
        let is_data = |index: usize| node.input(index).is_some_and(|input| graph.value(input).is_data);
        match (is_data(0), is_data(1)) {
            (true, true) if !is_computed_from_weights(graph, node.input(1)) => {
                self.add(-5, "a product of data with data, as in attention");
            }
            (false, true) => self.add(1, "a product of weights with data"),
            _ => self.add(3, "a product of data with weights"),
        }
    }

    fn weigh_name(&mut self, graph: &ModelGraph<'_>, raw: ValueId) {
        let producer = graph.producing(raw).map(|(_, node)| node);
        let inputs = producer.iter().flat_map(|node| node.inputs.iter().flatten().copied());
        let weights = inputs.filter(|&input| !graph.value(input).is_data).flat_map(|input| weights_of(graph, input));
        let mut names: Vec<String> = weights.map(|weight| graph.value(weight).name.to_lowercase()).collect();
        names.extend(producer.map(|node| node.name.to_lowercase()));
        names.push(graph.value(raw).name.to_lowercase());
        let has =
            |words: &[&'static str]| words.iter().find(|word| names.iter().any(|name| name.contains(*word))).copied();
        match (has(&GATE_WORDS), has(&OTHER_WORDS)) {
            (Some(word), None) => self.add(3, format!("its name says “{word}”")),
            (Some(word), Some(_)) => self.add(1, format!("its name says “{word}”")),
            (None, Some(word)) => self.add(-2, format!("its name says “{word}”")),
            (None, None) => {}
        }
    }

    /// ONNX Runtime's own operator takes the logits as its second input.
    fn weigh_operator(&mut self, graph: &ModelGraph<'_>, value: ValueId) {
        let takes = |id: &NodeId| {
            let node = graph.node(*id);
            node.domain == "com.microsoft" && matches!(node.op, "MoE" | "QMoE") && node.input(1) == Some(value)
        };
        if let Some(id) = graph.consumers(value).iter().copied().find(takes) {
            self.top_k = graph.int(graph.node(id), "k").and_then(|k| usize::try_from(k).ok()).or(Some(1));
            self.rule = GatingRule::SoftmaxThenTopK;
            self.add(9, format!("{} takes it as its router's logits", node_name(graph, id)));
        }
    }
}

/// Whether something that depends on data is a weight but for its scale, as a router that compares directions has it.
fn is_computed_from_weights(graph: &ModelGraph<'_>, value: Option<ValueId>) -> bool {
    let at = value.map(|value| skip_passive(graph, value));
    at.and_then(|at| graph.producing(at)).is_some_and(|(_, node)| {
        matches!(node.op, "Div" | "Mul") && node.inputs.iter().flatten().any(|&input| !graph.value(input).is_data)
    })
}

/// Ranks what is decided on: the logits, and the scores that a softmax or sigmoid makes of them.
pub(super) fn decided(graph: &ModelGraph<'_>, report: &RouterReport, ranked: &mut FastMap<ValueId, Ranked>) {
    let (candidates, _) = candidates(graph);
    for candidate in &candidates {
        for (&logits, &reader) in candidate.logits.iter().zip(&candidate.readers) {
            let axis = expert_axis(graph, candidate.raw, logits).or_else(|| seed_axis(graph, reader, logits));
            let Some(decision) = axis.and_then(|axis| Decision::of(graph, report, candidate, logits, axis)) else {
                continue;
            };
            decision.rank_logits(graph, ranked);
            decision.rank_scores(graph, ranked);
        }
    }
}

fn seed_axis(graph: &ModelGraph<'_>, seed: NodeId, value: ValueId) -> Option<usize> {
    let node = graph.node(seed);
    graph.axis(node, if node.op == "ArgMax" { 0 } else { -1 }, graph.shape(value)?.len())
}

/// All that is decided on one tensor of logits.
struct Decision<'c> {
    candidate: &'c Candidate,
    logits: ValueId,
    axis: usize,
    /// Number of experts; −1 where it is not known.
    width: i64,
    function: ScoreFunction,
    /// The node that makes scores of the logits.
    scored_by: Option<NodeId>,
    /// The node that chooses, and how many.
    chosen_by: Option<(NodeId, Option<usize>)>,
    near_miss: Option<String>,
    points: i32,
}

impl<'c> Decision<'c> {
    fn of(
        graph: &ModelGraph<'_>,
        report: &RouterReport,
        candidate: &'c Candidate,
        logits: ValueId,
        axis: usize,
    ) -> Option<Self> {
        let width = graph.shape(logits).and_then(|shape| shape.get(axis).copied()).unwrap_or(-1);
        if !is_number_of_experts(width) {
            return None;
        }
        let op = |id: &&NodeId| graph.node(**id).op;
        let is_function = |id: &&NodeId| matches!(op(id), "Softmax" | "LogSoftmax" | "Div" | "Sigmoid");
        let scored_by = candidate.seeds.iter().find(is_function).copied();
        let function = match scored_by.map(|id| graph.node(id).op) {
            Some("Sigmoid") => ScoreFunction::Sigmoid,
            Some(_) => ScoreFunction::Softmax,
            None if fused_function(graph, logits) == ScoreFunction::Sigmoid => ScoreFunction::Sigmoid,
            None if reads(graph, logits, "Softplus") => ScoreFunction::SqrtSoftplus,
            None => ScoreFunction::None,
        };
        let chosen_by = candidate.seeds.iter().find_map(|&id| choice(graph, id, width).map(|k| (id, k)));
        let seed = node_name(graph, candidate.seeds[0]);
        let near_miss = report.near_misses.iter().find(|miss| miss.node == seed).map(|miss| miss.reason.clone());
        let points = Self::points(graph, candidate, logits, chosen_by.is_some());
        Some(Self { candidate, logits, axis, width, function, scored_by, chosen_by, near_miss, points })
    }

    fn points(graph: &ModelGraph<'_>, candidate: &Candidate, logits: ValueId, is_chosen: bool) -> i32 {
        let gives = |id: &NodeId| graph.node(*id).outputs.iter().any(|&output| graph.value(output).is_output);
        let ends =
            graph.value(logits).is_output || graph.value(candidate.raw).is_output || candidate.seeds.iter().all(gives);
        4 + if is_chosen { 3 } else { 0 } - if ends { 6 } else { 0 }
    }

    fn rank_logits(&self, graph: &ModelGraph<'_>, ranked: &mut FastMap<ValueId, Ranked>) {
        let fused = fused_function(graph, self.logits) != ScoreFunction::None;
        let values = if fused { GateValues::Probabilities } else { GateValues::Logits };
        self.rank(graph, ranked, (self.logits, self.axis), values, 0);
    }

    /// The scores of all experts, where they are a tensor of their own.
    fn rank_scores(&self, graph: &ModelGraph<'_>, ranked: &mut FastMap<ValueId, Ranked>) {
        let Some(scores) = self.scored_by.and_then(|id| graph.node(id).output(0)) else { return };
        let Some(axis) = self.scored_by.and_then(|id| seed_axis(graph, id, scores)) else { return };
        let same_width = graph.shape(scores).and_then(|shape| shape.get(axis)) == Some(&self.width);
        if same_width && graph.producer(scores) > graph.producer(self.logits) {
            self.rank(graph, ranked, (scores, axis), GateValues::Probabilities, -1);
        }
    }

    /// Keeps the better of two rankings of one value.
    fn rank(
        &self,
        graph: &ModelGraph<'_>,
        ranked: &mut FastMap<ValueId, Ranked>,
        (value, axis): (ValueId, usize),
        values: GateValues,
        points: i32,
    ) {
        // Without a node of its own a value cannot be shown.
        if graph.producing(value).is_none_or(|(_, node)| node.stands.is_none()) {
            return;
        }
        let (rule, top_k) = self.rule(graph);
        let mut new = Ranked {
            points: self.points + points,
            axis,
            values,
            rule,
            top_k,
            near_miss: self.near_miss.clone(),
            evidence: Vec::new(),
        };
        new.weigh_source(graph, self.candidate.raw);
        new.weigh_name(graph, self.candidate.raw);
        for &seed in self.candidate.seeds.iter().take(3) {
            new.evidence.push(format!("{} decides on it", node_name(graph, seed)));
        }
        if self.near_miss.is_some() && new.points > 3 {
            new.points += 4;
        }
        if ranked.get(&value).is_none_or(|known| known.points < new.points) {
            ranked.insert(value, new);
        }
    }

    /// The rule that the order of function and choice suggests, and k.
    fn rule(&self, graph: &ModelGraph<'_>) -> (GatingRule, Option<usize>) {
        use GatingRule as Rule;
        let usual = if self.width == 1 { 1 } else { 2 };
        let Some((chosen_by, k)) = self.chosen_by else {
            return match self.function {
                ScoreFunction::Softmax => (Rule::Soft, None),
                ScoreFunction::Sigmoid => (Rule::SigmoidThenTopK, Some(usual)),
                ScoreFunction::SqrtSoftplus => (Rule::SqrtSoftplusThenTopK, Some(usual)),
                ScoreFunction::None | ScoreFunction::Relu => (Rule::SoftmaxThenTopK, Some(usual)),
            };
        };
        let k = Some(k.unwrap_or(usual));
        let renormalized = is_summed(graph, chosen_by);
        let rule = match (self.function, renormalized) {
            (ScoreFunction::None | ScoreFunction::Relu, _) if graph.node(chosen_by).op == "ArgMax" => Rule::ArgMax,
            (ScoreFunction::Softmax, _) if self.scored_by > Some(chosen_by) => Rule::TopKThenSoftmax,
            (ScoreFunction::Softmax, true) => Rule::SoftmaxThenTopKRenormalized,
            (ScoreFunction::Softmax | ScoreFunction::None | ScoreFunction::Relu, _) => Rule::SoftmaxThenTopK,
            (ScoreFunction::Sigmoid, true) => Rule::SigmoidThenTopKRenormalized,
            (ScoreFunction::Sigmoid, false) => Rule::SigmoidThenTopK,
            (ScoreFunction::SqrtSoftplus, true) => Rule::SqrtSoftplusThenTopKRenormalized,
            (ScoreFunction::SqrtSoftplus, false) => Rule::SqrtSoftplusThenTopK,
        };
        (rule, k)
    }
}

/// How many a node chooses of `width`; `None` where it chooses nothing, or sorts all.
fn choice(graph: &ModelGraph<'_>, id: NodeId, width: i64) -> Option<Option<usize>> {
    let node = graph.node(id);
    match node.op {
        "ArgMax" => Some(Some(1)),
        "TopK" => {
            let k = node.input(1).map_or_else(|| graph.int(node, "k"), |k| graph.const_int(k));
            let chooses = k.is_none_or(|k| width < 0 || k < width);
            chooses.then(|| k.and_then(|k| usize::try_from(k).ok()))
        }
        _ => None,
    }
}

/// Whether the scores of what was chosen are added up, as they are before they are divided by their sum.
fn is_summed(graph: &ModelGraph<'_>, chosen_by: NodeId) -> bool {
    let outputs = &graph.node(chosen_by).outputs;
    let looked_up = outputs.get(1).into_iter().flat_map(|&ids| graph.consumers(ids));
    let looked_up = looked_up.filter(|&&reader| matches!(graph.node(reader).op, "GatherElements" | "GatherND"));
    let looked_up = looked_up.filter_map(|&reader| graph.node(reader).output(0));
    outputs.first().copied().into_iter().chain(looked_up).any(|scores| reads(graph, scores, "ReduceSum"))
}

fn reads(graph: &ModelGraph<'_>, value: ValueId, op: &str) -> bool {
    graph.consumers(value).iter().any(|&reader| graph.node(reader).op == op)
}
