//! Walks through everything that is computed from gate logits alone; see [`super::kinds`].

mod arithmetic;
mod choices;
mod places;
mod ranks;

use super::kinds::{Counted, Findings, Kind, MaskOf, Picked, Scores};
use super::report::ScoreFunction;
use super::scores::{fused_function, is_passive, skip_passive};
use crate::model::graph::{FastMap, FastSet, ModelGraph, Node, NodeId, ValueId, is_product, normal_axis};
pub(super) use ranks::Rank;
use std::collections::BTreeSet;

/// A router computes few values; an unrolled one has some for each expert.
const MAX_NODES: usize = 60_000;

/// The values that depend on the logits alone, and what they mean.
pub(super) struct Walk<'g, 'a> {
    graph: &'g ModelGraph<'a>,
    /// Width of the router, where it is known.
    pub width: Option<i64>,
    kinds: FastMap<ValueId, Kind>,
    inside: BTreeSet<NodeId>,
    /// What has its tokens in another order than the logits: batch priority routing sorts them, and puts them back.
    sorted: FastSet<ValueId>,
    /// What belongs to one of several choices, or to some of them.
    ranks: FastMap<ValueId, Rank>,
    pub findings: Findings,
}

impl<'g, 'a> Walk<'g, 'a> {
    /// Begins with the logits, whose last axis (or, after a convolution, second axis) has one element per expert.
    pub(super) fn new(
        graph: &'g ModelGraph<'a>,
        roots: &[ValueId],
        width: Option<i64>,
        axis: impl Fn(ValueId) -> Option<usize>,
    ) -> Self {
        let mut walk = Self {
            graph,
            width,
            kinds: FastMap::default(),
            inside: BTreeSet::new(),
            sorted: FastSet::default(),
            ranks: FastMap::default(),
            findings: Findings::default(),
        };
        let mut waiting = BTreeSet::new();
        for &root in roots {
            let scores = Scores {
                function: fused_function(graph, root),
                biased: false,
                axis: axis(root),
                over_tokens: false,
                masked: None,
                column: None,
            };
            walk.kinds.insert(root, Kind::Scores(scores));
            walk.note(root, Kind::Scores(scores));
            waiting.extend(graph.data_consumers(root));
        }
        while let Some(id) = waiting.pop_first() {
            if walk.inside.len() > MAX_NODES || !walk.belongs(id) {
                continue;
            }
            walk.inside.insert(id);
            let node = graph.node(id);
            if walk.is_sorted(node) {
                walk.sorted.extend(&node.outputs);
            }
            for (n, &output) in node.outputs.iter().enumerate() {
                if !walk.kinds.contains_key(&output) {
                    let kind = walk.kind_of(id, node, n, output);
                    walk.kinds.insert(output, kind);
                    walk.note(output, kind);
                    walk.note_rank(node, n, output);
                }
                waiting.extend(graph.data_consumers(output));
            }
        }
        walk
    }

    /// Whether a node is a part of the router.
    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.inside.contains(&id)
    }

    /// The nodes of the router, in order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.inside.iter().copied()
    }

    pub(super) fn kind(&self, value: ValueId) -> Option<Kind> {
        self.kinds.get(&value).copied()
    }

    /// Whether a list of the experts that were hit, whose length differs from image to image, is taken apart into a fixed
    /// number of items: tracing did that with the hits of one image.
    pub(super) fn unrolls_hits(&self) -> bool {
        let is_list = |value: ValueId| {
            let value = skip_passive(self.graph, value);
            let source = self.graph.producing(value).filter(|(_, node)| node.op == "NonZero");
            let hits = source.and_then(|(_, node)| node.input(0)).filter(|&mask| self.kinds.contains_key(&mask));
            hits.and_then(|mask| self.graph.shape(mask)).is_some_and(|shape| shape.len() == 1)
        };
        self.nodes().any(|id| {
            let node = self.graph.node(id);
            let fixed = match node.op {
                "Split" => true,
                "Gather" => node.input(1).is_some_and(|index| self.graph.const_int(index).is_some()),
                _ => false,
            };
            fixed && node.input(0).is_some_and(|list| is_list(list) && !self.is_one_row(node, list))
        })
    }

    /// The only row of a one-dimensional mask's coordinates is the list itself, not one of its items.
    fn is_one_row(&self, node: &Node<'a>, list: ValueId) -> bool {
        let Some(shape) = self.graph.shape(list) else { return false };
        self.graph.axis(node, 0, shape.len()).is_some_and(|axis| shape[axis] == 1)
    }

    /// Whether all data that a node reads is the router's, and it does not multiply with weights or look weights up.
    fn belongs(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let known = |value: ValueId| !self.graph.value(value).is_data || self.kinds.contains_key(&value);
        let weight = |value: ValueId| {
            let value_of = self.graph.value(value);
            !value_of.is_data
                && value_of.shape.as_ref().is_none_or(|shape| shape.len() >= 2)
                && self.graph.num_elements(value).is_none_or(|count| count > 1)
        };
        let looks_up = matches!(node.op, "Gather" | "GatherND" | "GatherElements" | "Compress")
            && node.input(0).is_some_and(|data| !self.graph.value(data).is_data && self.graph.value(data).element != 7)
            && !self.looks_up_factors(node);
        let multiplies = is_product(node.op) && node.inputs.iter().flatten().any(|&input| weight(input));
        !looks_up && !multiplies && self.graph.data_inputs(node).all(known)
    }

    /// Whether a node looks up one number for each chosen expert, as a scale of its weight is.
    pub(super) fn looks_up_factors(&self, node: &Node<'a>) -> bool {
        let is_list = |data: ValueId| {
            let size = self.graph.num_elements(data);
            size == self.width && size.is_some() && self.graph.shape(data).is_some_and(|shape| shape.len() == 1)
        };
        let of_ids = node.input(1).and_then(|ids| self.kind(ids));
        matches!(node.op, "Gather" | "GatherND")
            && node.input(0).is_some_and(is_list)
            && matches!(of_ids, Some(Kind::Ids { .. }))
    }

    fn kind_of(&mut self, id: NodeId, node: &Node<'a>, output: usize, value: ValueId) -> Kind {
        let first = node.input(0).and_then(|input| self.kind(input));
        match node.op {
            "TopK" => self.top_k(id, node, output),
            "ArgMax" => self.arg_max(id, node, value),
            "Softmax" | "LogSoftmax" => self.softmax(id, node, first, value),
            "Sigmoid" | "HardSigmoid" => apply(first, ScoreFunction::Sigmoid),
            "Sqrt" => match first {
                Some(Kind::Scores(scores)) => Kind::Scores(Scores { function: ScoreFunction::SqrtSoftplus, ..scores }),
                Some(Kind::Picked(picked)) => {
                    Kind::Picked(Picked { after: ScoreFunction::SqrtSoftplus, stage: picked.stage + 1, ..picked })
                }
                _ => Kind::Other,
            },
            "Relu" => match first {
                Some(Kind::Scores(scores)) if scores.function == ScoreFunction::None => {
                    Kind::Scores(Scores { function: ScoreFunction::Relu, ..scores })
                }
                Some(kind @ (Kind::Scores(_) | Kind::Picked(_))) => kind,
                _ => Kind::Other,
            },
            "Softplus" | "Tanh" | "Neg" => match first {
                Some(kind @ (Kind::Scores(_) | Kind::Picked(_))) => kind,
                _ => Kind::Other,
            },
            "Exp" => match first {
                Some(Kind::Scores(scores)) => Kind::Exponents(scores),
                _ => Kind::Other,
            },
            "GatherElements" | "GatherND" | "Gather" => self.gather(node, value),
            "Slice" | "Split" => self.part(node, output, value),
            "Concat" => self.concat(node, value),
            "OneHot" => match first {
                Some(Kind::Ids { axis }) => Kind::Mask(self.mask_of_ids(node.input(0), axis)),
                Some(Kind::GroupIds) => Kind::Mask(MaskOf::Groups),
                Some(Kind::Places) => {
                    let depth = node.input(1).and_then(|depth| self.graph.const_scalar(depth));
                    self.slots(depth.map(|depth| depth as i64), value)
                }
                _ => Kind::Other,
            },
            "ScatterElements" | "ScatterND" | "Scatter" => self.scatter(node, value),
            "Where" => self.choose(node, value),
            "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => self.compare(node, value),
            "Not" | "And" | "Or" | "Trilu" => match first {
                Some(kind @ Kind::Mask(_)) => kind,
                _ => Kind::Other,
            },
            "CumSum" => match first {
                Some(Kind::Mask(_)) => {
                    self.note_count(node);
                    Kind::Places
                }
                Some(Kind::Sorted(_) | Kind::Scores(_) | Kind::Picked(_)) => Kind::Cumulated,
                _ => Kind::Other,
            },
            "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Mod" | "Pow" => self.arithmetic(id, node),
            "Einsum" | "MatMul" => self.product(node, value),
            op if op.starts_with("Reduce") || op == "LpNormalization" => self.reduce(node),
            op if is_passive(op) => self.passive(node, value),
            _ => Kind::Other,
        }
    }

    /// What a one-hot vector of chosen experts says: all of them, or the expert of one choice.
    fn mask_of_ids(&self, ids: Option<ValueId>, axis: Option<usize>) -> MaskOf {
        let size = axis.and_then(|axis| self.graph.shape(ids?)?.get(axis).copied());
        if axis.is_none() || size == Some(1) { MaskOf::Rank } else { MaskOf::Choice }
    }

    /// Whether a node's outputs have the tokens in another order: sorting twice puts them back.
    fn is_sorted(&self, node: &Node<'a>) -> bool {
        let sorted = |index: usize| node.input(index).is_some_and(|input| self.sorted.contains(&input));
        let kind = |index: usize| node.input(index).and_then(|input| self.kind(input));
        let sorts = node.op.starts_with("Gather")
            && matches!(kind(0), Some(Kind::Ids { .. } | Kind::Mask(_) | Kind::Places))
            && kind(1) == Some(Kind::Other);
        if sorts { !sorted(0) } else { (0..node.inputs.len()).any(sorted) }
    }

    /// Keeps where assignments are counted: along an axis of so many, each in a group of its own.
    fn note_count(&mut self, node: &Node<'a>) {
        let Some(mask) = node.input(0) else { return };
        let rank = self.graph.shape(mask).map_or(0, <[i64]>::len);
        let axis = node.input(1).and_then(|axis| self.graph.const_int(axis)).and_then(|axis| normal_axis(axis, rank));
        let is_sorted = self.sorted.contains(&mask);
        self.findings.counted = self.findings.counted.or(axis.map(|axis| Counted { mask, axis, is_sorted }));
    }

    /// Keeps the first complete scores.
    fn note(&mut self, value: ValueId, kind: Kind) {
        let Kind::Scores(scores) = kind else { return };
        let plain = !scores.biased && scores.masked.is_none() && !scores.over_tokens && scores.column.is_none();
        let made = scores.function != ScoreFunction::None && self.is_complete(value, scores);
        if plain && made && self.findings.probs.is_none() {
            self.findings.probs = Some((value, scores));
        }
    }

    /// What the experts' outputs are multiplied with: the last that was made of what was picked. Spreading it over all
    /// experts changes nothing in it, so that one weight per choice is preferred to that.
    pub(super) fn weights(&self) -> Option<(ValueId, Picked)> {
        self.last_picked(|_, _| true)
    }

    /// The same of one of several choices, each of which has weights of its own.
    pub(super) fn weights_of_rank(&self, rank: usize) -> Option<ValueId> {
        let is_its_own =
            |value, picked: Picked| !picked.dense && picked.axis.is_none() && self.rank(value) == Some(Rank::One(rank));
        self.last_picked(is_its_own).map(|(value, _)| value)
    }

    fn last_picked(&self, counts: impl Fn(ValueId, Picked) -> bool) -> Option<(ValueId, Picked)> {
        let of_top_k = self.findings.choices.iter().any(|choice| self.graph.node(choice.node).op == "TopK");
        let mut best: Option<(ValueId, Picked)> = None;
        for &output in self.nodes().flat_map(|id| &self.graph.node(id).outputs) {
            let Some(Kind::Picked(picked)) = self.kind(output) else { continue };
            let used = self.graph.value(output).is_output || !self.graph.consumers(output).is_empty();
            if !used || !counts(output, picked) || picked.of_max && of_top_k || !self.has_all_choices(output, picked) {
                continue;
            }
            let better = best.is_none_or(|(_, known)| {
                let later = picked.stage > known.stage || picked.before != known.before && known.of_max;
                later || known.dense && !picked.dense && picked.stage == known.stage
            });
            if better {
                best = Some((output, picked));
            }
        }
        best
    }

    /// Whether there is a weight for each choice that counts, and for no other.
    fn has_all_choices(&self, value: ValueId, picked: Picked) -> bool {
        let size = picked.axis.and_then(|axis| self.graph.shape(value)?.get(axis).copied());
        picked.dense || self.findings.front.is_none() || size == self.findings.front
    }

    /// √softplus begins as softplus, which is no score yet.
    fn is_complete(&self, value: ValueId, scores: Scores) -> bool {
        scores.function != ScoreFunction::SqrtSoftplus || self.graph.op_of(value) == "Sqrt"
    }
}

fn picked(scores: Scores, dense: bool, axis: Option<usize>) -> Picked {
    Picked {
        before: scores.function,
        after: ScoreFunction::None,
        biased: scores.biased,
        renormalized: false,
        scale: 1.0,
        dense,
        axis,
        stage: 0,
        of_part: scores.masked.is_some(),
        of_one: false,
        of_max: false,
    }
}

fn apply(kind: Option<Kind>, function: ScoreFunction) -> Kind {
    match kind {
        Some(Kind::Scores(scores)) if scores.masked == Some(MaskOf::Choice) => {
            Kind::Picked(Picked { after: function, stage: 1, ..picked(scores, true, scores.axis) })
        }
        Some(Kind::Scores(scores)) => Kind::Scores(Scores { function, ..scores }),
        Some(Kind::Picked(picked)) => Kind::Picked(Picked { after: function, stage: picked.stage + 1, ..picked }),
        _ => Kind::Other,
    }
}
