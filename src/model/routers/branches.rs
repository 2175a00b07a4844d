//! Experts as branches: one subgraph per expert, alike but for its weights.
//!
//! Labels are given where a constant picks one expert out of something the router made (a column of its scores, a row of
//! a one-hot mask, `ids == e`), and flow forward until they meet; then backward, to what is computed for one label only.
//! Where nothing is picked, because the outputs of all experts are stacked first, the stack's inputs are the labels.

use super::kinds::Kind;
use super::names::weights_of;
use super::region::Region;
use super::rows::fixes_rows;
use super::scores::skip_passive;
use super::walk::Walk;
use crate::model::graph::{
    BOOL, FastMap, FastSet, ModelGraph, Node, NodeId, ValueId, is_float, is_product, is_quantized,
};
use std::collections::{BTreeMap, BTreeSet};

/// One expert each.
#[derive(Debug)]
pub(super) struct Branches {
    /// Weights of each expert that was found, by label.
    pub weights: Vec<Vec<ValueId>>,
    /// E as far as the branches tell it.
    pub width: usize,
    pub evidence: Vec<NodeId>,
    pub all_executed: bool,
    pub by_hit: bool,
    /// Whether an expert may take as many tokens only as it took of the traced image.
    pub fixes_rows: bool,
    /// Whether an expert is missing before the last one that has weights.
    pub has_gaps: bool,
    /// Experts that only pass on, scale or leave out what they are given: they have no weights.
    pub without_weights: usize,
    /// Experts that mix a vector of their own with what they are given.
    pub constants: usize,
    /// What tells two experts apart beside the numbers in their weights.
    pub unlike: Option<Unlike>,
}

/// Two experts that are built in different ways.
#[derive(Clone, Debug)]
pub(super) struct Unlike {
    /// Their places among those that were found.
    pub experts: [usize; 2],
    /// Their weights, by operator and sizes.
    pub weights: [Vec<(String, Vec<i64>)>; 2],
}

/// Which experts a value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    One(i64),
    Many,
}

struct Labels<'r, 'g, 'a> {
    graph: &'g ModelGraph<'a>,
    region: &'r Region,
    inside: FastSet<NodeId>,
    of: FastMap<ValueId, Label>,
    picks: Vec<NodeId>,
    /// Sums that an expert's part was added to: what else they add up is not its own.
    sums: FastSet<NodeId>,
    /// Whether tokens that were sorted by expert are divided among the experts.
    divides_tokens: bool,
    by_hit: bool,
}

pub(super) fn find_branches(
    graph: &ModelGraph<'_>,
    walk: &Walk<'_, '_>,
    region: &Region,
    cone: &FastSet<ValueId>,
    widths: &[i64],
) -> Option<Branches> {
    let chooses = !walk.findings.choices.is_empty();
    let inside = region.nodes.iter().copied().collect();
    let mut labels = Labels::new(graph, region, inside, Vec::new());
    labels.pick(walk, cone, widths);
    labels.flow_back();
    if let Some(branches) = labels.branches(cone, widths, chooses) {
        return Some(branches);
    }
    // Outputs of all experts, stacked or summed at once; the gate comes to them afterwards.
    for &id in region.nodes.iter().rev().filter(|&&id| id != region.merge) {
        let node = graph.node(id);
        let count = node.inputs.len() as i64;
        if !matches!(node.op, "Concat" | "Sum" | "SequenceConstruct" | "ConcatFromSequence")
            || !widths.contains(&count)
            || count < 2
        {
            continue;
        }
        let mut labels = Labels::new(graph, region, labels.inside.clone(), vec![id]);
        labels.spread(node);
        if let Some(branches) =
            labels.branches(cone, widths, chooses).filter(|found| found.weights.len() as i64 == count)
        {
            return Some(branches);
        }
    }
    None
}

impl<'r, 'g, 'a> Labels<'r, 'g, 'a> {
    fn new(graph: &'g ModelGraph<'a>, region: &'r Region, inside: FastSet<NodeId>, picks: Vec<NodeId>) -> Self {
        Self {
            graph,
            region,
            inside,
            of: FastMap::default(),
            picks,
            sums: FastSet::default(),
            divides_tokens: false,
            by_hit: false,
        }
    }

    /// Gives labels where one expert is picked, and lets them flow forward.
    fn pick(&mut self, walk: &Walk<'_, '_>, cone: &FastSet<ValueId>, widths: &[i64]) {
        let chooses = !walk.findings.choices.is_empty();
        for &id in &self.region.nodes {
            let node = self.graph.node(id);
            let label = self.graph.data_inputs(node).filter_map(|input| self.of.get(&input).copied()).reduce(join);
            if let Some(label) = label.filter(|_| !writes_over(walk, node)) {
                self.of.extend(node.outputs.iter().map(|&output| (output, label)));
                if matches!(node.op, "Add" | "Sum") {
                    self.sums.insert(id);
                }
                continue;
            }
            // Tokens that were sorted by expert are split among the experts; everything else is picked from what the
            // router itself made.
            let splits =
                chooses && node.op == "Split" && self.graph.data_inputs(node).any(|input| cone.contains(&input));
            let from_router = splits || self.graph.data_inputs(node).any(|input| walk.kind(input).is_some());
            // A sum or a score that equals a number is no expert of this number.
            let is_number =
                |input: ValueId| !matches!(walk.kind(input), Some(Kind::Mask(_) | Kind::SumOf(_) | Kind::Scores(_)));
            let numbers = node.op != "Equal" || self.graph.data_inputs(node).all(is_number);
            if from_router
                && numbers
                && let Some(picked) = self.picked(node, widths)
            {
                self.picks.push(id);
                self.divides_tokens |= node.input(0).is_some_and(|data| walk.kind(data).is_none());
                self.of.extend(
                    node.outputs.iter().copied().zip(picked).map(|(output, label)| (output, Label::One(label))),
                );
            }
        }
    }

    /// The experts whose part each output is, where a node picks by a constant.
    fn picked(&mut self, node: &Node<'_>, widths: &[i64]) -> Option<Vec<i64>> {
        let graph = self.graph;
        let data = node.input(0)?;
        let fits = |size: i64| size < 0 || widths.contains(&size);
        match node.op {
            "Gather" => {
                let index = graph.const_int(node.input(1)?)?;
                let shape = graph.shape(data);
                let axis = shape.and_then(|shape| graph.axis(node, 0, shape.len()));
                let size = shape.zip(axis).map_or(-1, |(shape, axis)| shape[axis]);
                let label = if index < 0 && size > 0 { index + size } else { index };
                if graph.op_of(skip_passive(graph, data)) == "NonZero" {
                    // The n-th of what was hit, not expert n; rows and columns of coordinates are no experts at all.
                    let is_list = size < 0;
                    self.by_hit |= is_list;
                    return is_list.then(|| vec![label]);
                }
                fits(size).then(|| vec![label])
            }
            "Slice" => {
                let part = |at: usize| graph.const_int(node.input(at)?);
                let (start, end) = (part(1)?, part(2)?);
                let axis = part(3).unwrap_or(0);
                let size = graph.shape(data).map_or(-1, |shape| {
                    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
                    usize::try_from(axis).ok().and_then(|axis| shape.get(axis).copied()).unwrap_or(-1)
                });
                let start = if start < 0 && size > 0 { start + size } else { start };
                let end = if end < 0 && size > 0 { end + size } else { end };
                // One expert's column, or the slots of one of so many experts, which are as many for each.
                let len = if size > 0 { end.min(size) - start } else { end - start };
                let parts = size.checked_div(len).unwrap_or(0);
                let is_part = parts > 1 && parts * len == size && start % len == 0 && widths.contains(&parts);
                (len == 1 && fits(size) || len > 1 && is_part).then(|| vec![start / len])
            }
            "Split" => {
                let count = node.outputs.len() as i64;
                let size = graph.shape(data).and_then(|shape| shape.get(graph.axis(node, 0, shape.len())?).copied());
                // A list of the experts that were hit, item by item: as many as the traced image hit.
                let is_list = size.is_some_and(|size| size < 0) && graph.op_of(skip_passive(graph, data)) == "NonZero";
                if is_list && widths.iter().any(|&width| width >= count) {
                    self.by_hit = true;
                    return Some((0..count).collect());
                }
                let fits = count > 1 && widths.contains(&count);
                // Sorted tokens that are split by constant counts are the counts of the traced image.
                let fixed = node.input(1).and_then(|sizes| graph.const_ints(sizes));
                self.by_hit |= fits
                    && size != Some(count)
                    && fixed.is_some_and(|sizes| sizes.windows(2).any(|pair| pair[0] != pair[1]));
                fits.then(|| (0..count).collect())
            }
            "SequenceAt" => Some(vec![graph.const_int(node.input(1)?)?]),
            // A truth value that is negated so is no number of an expert.
            "Equal" if graph.value(data).element != BOOL => {
                let constant = node.inputs.iter().flatten().find_map(|&input| graph.const_scalar(input))?;
                let width = widths.iter().copied().max().unwrap_or(0);
                let label = constant as i64;
                (label as f32 == constant && (0..width).contains(&label)).then(|| vec![label])
            }
            _ => None,
        }
    }

    /// Gives the label of its only readers to what has none.
    fn flow_back(&mut self) {
        for &id in self.region.nodes.iter().rev() {
            let node = self.graph.node(id);
            if node.outputs.iter().any(|output| self.of.contains_key(output)) {
                continue;
            }
            let readers = node.outputs.iter().flat_map(|&output| self.graph.data_consumers(output));
            let mut label = None;
            for reader in readers.filter(|reader| self.inside.contains(reader)) {
                let of_reader = self.label_of(self.graph.node(reader)).filter(|_| !self.sums.contains(&reader));
                // What nobody labelled reads belongs to no expert alone.
                label = Some(join(label.unwrap_or(of_reader.unwrap_or(Label::Many)), of_reader.unwrap_or(Label::Many)));
            }
            if let Some(Label::One(label)) = label {
                self.of.extend(node.outputs.iter().map(|&output| (output, Label::One(label))));
            }
        }
    }

    /// A node that gives several experts their parts belongs to none.
    fn label_of(&self, node: &Node<'_>) -> Option<Label> {
        node.outputs.iter().filter_map(|output| self.of.get(output).copied()).reduce(join)
    }

    /// Labels the inputs of a stack, and what is computed for one of them only.
    fn spread(&mut self, stack: &Node<'_>) {
        for (n, input) in stack.inputs.iter().enumerate() {
            if let Some(input) = *input {
                self.of.insert(input, Label::One(n as i64));
                if let Some((id, node)) = self.graph.producing(input)
                    && self.inside.contains(&id)
                {
                    self.of.extend(node.outputs.iter().map(|&output| (output, Label::One(n as i64))));
                }
            }
        }
        self.flow_back();
    }

    /// Collects the weights of each label.
    fn branches(&self, cone: &FastSet<ValueId>, widths: &[i64], chooses: bool) -> Option<Branches> {
        let mut users: FastMap<ValueId, Label> = FastMap::default();
        let mut weights: BTreeMap<i64, Vec<(ValueId, &str)>> = BTreeMap::new();
        let mut executed_when_chosen = false;
        for &id in &self.region.nodes {
            let node = self.graph.node(id);
            let Some(Label::One(label)) = self.label_of(node) else { continue };
            for input in self.graph.data_inputs(node).filter(|&input| self.is_weight(node, input)) {
                let known = users.get(&input).copied();
                users.insert(input, known.map_or(Label::One(label), |known| join(known, Label::One(label))));
                weights.entry(label).or_default().push((input, node.op));
            }
            let picks_tokens = matches!(node.op, "NonZero" | "Compress" | "GatherND" | "If")
                || is_dynamic_gather(self.graph, node, cone);
            executed_when_chosen |= picks_tokens;
        }
        for own in weights.values_mut() {
            own.retain(|(weight, _)| users.get(weight) != Some(&Label::Many));
        }
        weights.retain(|_, own| own.iter().any(|(weight, op)| is_product(op) && self.rank(*weight) >= 2));
        let lone = weights.len() == 1 && (self.by_hit || chooses && self.lost_all_but_one(&weights, widths));
        if weights.len() < 2 && !lone {
            return None;
        }
        let (constants, without_weights) = (self.constants(&weights), self.without_weights(&weights));
        let networks = || weights.iter().filter(|(label, _)| !constants.contains(label));
        let unlike = self.unlike(networks().map(|(_, own)| own));
        let labels = || networks().map(|(&label, _)| label);
        // An expert that gives nothing has no branch: where others are no networks either, it stands beside these.
        let first = if constants.is_empty() && without_weights.is_empty() { 0 } else { labels().min().unwrap_or(0) };
        let last = labels().max().unwrap_or(0);
        let is_there = |label: i64| weights.contains_key(&label) || without_weights.contains(&label);
        // Several that are missing were rather lost.
        let highest = weights.keys().max().copied().unwrap_or(0);
        let has_gaps =
            (first..last).any(|label| !is_there(label)) || (0..highest).filter(|&label| !is_there(label)).count() > 1;
        let highest = weights.keys().max().map_or(0, |&label| label + 1);
        let width = widths.iter().copied().find(|&width| width >= highest).unwrap_or(highest);
        Some(Branches {
            weights: weights.into_values().map(|own| self.roots(&own)).collect(),
            width: usize::try_from(width).unwrap_or(0),
            evidence: self.picks.clone(),
            all_executed: !executed_when_chosen && !self.divides_tokens,
            by_hit: self.by_hit,
            fixes_rows: executed_when_chosen && fixes_rows(self.graph, self.region),
            has_gaps: has_gaps && !self.by_hit,
            without_weights: if self.by_hit { 0 } else { without_weights.len() },
            constants: if self.by_hit { 0 } else { constants.len() },
            unlike,
        })
    }

    /// The first two experts whose weights have other sizes, or are used by other operators.
    fn unlike<'w>(&self, weights: impl Iterator<Item = &'w Vec<(ValueId, &'w str)>>) -> Option<Unlike> {
        let built = |own: &Vec<(ValueId, &str)>| {
            let sizes = |weight| self.graph.shape(weight).map_or_else(Vec::new, <[i64]>::to_vec);
            let mut built: Vec<_> = own.iter().map(|&(weight, op)| (op.to_owned(), sizes(weight))).collect();
            built.sort();
            built
        };
        let mut experts = weights.map(built);
        let first = experts.next()?;
        let (other, built) = experts.enumerate().find(|(_, built)| *built != first)?;
        Some(Unlike { experts: [0, other + 1], weights: [first, built] })
    }

    /// Experts that are α₁ x + α₂ v with a vector v and a gate for α of their own (the constant experts of MoE++), beside others
    /// that are networks.
    fn constants(&self, weights: &BTreeMap<i64, Vec<(ValueId, &str)>>) -> BTreeSet<i64> {
        let is_constant = |own: &[(ValueId, &str)]| {
            let shapes = || own.iter().map(|&(weight, _)| self.graph.shape(weight).unwrap_or_default());
            let is_vector = |shape: &[i64]| shape.iter().filter(|&&size| size > 1).count() == 1;
            let mut matrices = shapes().filter(|shape| shape.iter().filter(|&&size| size > 1).count() > 1);
            let is_gate = matrices.next().is_some_and(|shape| shape.contains(&2)) && matrices.next().is_none();
            is_gate && shapes().any(is_vector)
        };
        let constants: BTreeSet<i64> =
            weights.iter().filter(|(_, own)| is_constant(own)).map(|(&label, _)| label).collect();
        if constants.len() == weights.len() { BTreeSet::new() } else { constants }
    }

    /// Experts that the router picks tokens or weights for although nothing of theirs is multiplied (MoE++: Jin et al.
    /// 2025).
    fn without_weights(&self, weights: &BTreeMap<i64, Vec<(ValueId, &str)>>) -> BTreeSet<i64> {
        let outputs = self.picks.iter().flat_map(|&id| &self.graph.node(id).outputs);
        let used = outputs.filter(|&&output| self.graph.data_consumers(output).next().is_some());
        let labels = used.filter_map(|output| match self.of.get(output) {
            Some(Label::One(label)) => Some(*label),
            _ => None,
        });
        labels.filter(|label| !weights.contains_key(label)).collect()
    }

    /// An export may keep only the one expert that was hit.
    fn lost_all_but_one(&self, weights: &BTreeMap<i64, Vec<(ValueId, &str)>>, widths: &[i64]) -> bool {
        let picks_rows = self.picks.iter().any(|&id| matches!(self.graph.node(id).op, "Gather" | "Equal"));
        weights.len() == 1 && picks_rows && widths.iter().any(|&width| width > 1)
    }

    fn roots(&self, own: &[(ValueId, &str)]) -> Vec<ValueId> {
        let mut roots: Vec<ValueId> = own.iter().flat_map(|(weight, _)| weights_of(self.graph, *weight)).collect();
        roots.retain(|&root| self.graph.num_elements(root).is_none_or(|count| count > 1));
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    fn rank(&self, weight: ValueId) -> usize {
        self.graph.shape(weight).map_or(0, <[i64]>::len)
    }

    /// Products have matrices; everything else has vectors, such as a bias. What has more axes there are the zeros that a
    /// sum begins with.
    fn is_weight(&self, node: &Node<'_>, value: ValueId) -> bool {
        let of = self.graph.value(value);
        let is_number = is_float(of.element) || is_quantized(of.element) || of.element == 0;
        let axes = self.graph.shape(value).map_or(1, |shape| shape.iter().filter(|&&size| size != 1).count());
        !of.is_data && is_number && if is_product(node.op) { axes > 0 } else { axes == 1 }
    }
}

fn join(a: Label, b: Label) -> Label {
    if a == b { a } else { Label::Many }
}

/// Whether a node writes a choice, or its weights, over where it was one expert: what is left is everybody's but its.
fn writes_over(walk: &Walk<'_, '_>, node: &Node<'_>) -> bool {
    let kind = |value: Option<ValueId>| value.and_then(|value| walk.kind(value));
    let is_left = matches!(kind(node.input(2)), Some(Kind::Ids { .. } | Kind::Picked(_)));
    node.op == "Where" && kind(node.input(1)).is_none() && is_left
}

/// Whether a node takes those tokens that chose an expert.
fn is_dynamic_gather(graph: &ModelGraph<'_>, node: &Node<'_>, cone: &FastSet<ValueId>) -> bool {
    let by_router = node.input(1).is_some_and(|indices| cone.contains(&indices));
    let from_data = node.input(0).is_some_and(|data| graph.value(data).is_data);
    matches!(node.op, "Gather" | "GatherElements") && by_router && from_data
}
