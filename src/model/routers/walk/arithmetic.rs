//! Sums, products and whatever only moves elements.

use super::super::kinds::{Kind, MaskOf, Picked, Scores};
use super::super::report::ScoreFunction;
use super::super::scores::{is_noise, moved_axis, skip_passive};
use super::{Walk, picked};
use crate::model::graph::{Node, NodeId, ValueId};

impl<'a> Walk<'_, 'a> {
    pub(super) fn arithmetic(&mut self, id: NodeId, node: &Node<'a>) -> Kind {
        let (Some(a), Some(b)) = (node.input(0), node.input(1)) else { return Kind::Other };
        match (self.kind(a), self.kind(b)) {
            (Some(kind), None) => self.with_constant(node, kind, b, true),
            (None, Some(kind)) => self.with_constant(node, kind, a, false),
            (Some(first), Some(second)) => self.of_two(id, node, [a, b], first, second),
            (None, None) => Kind::Other,
        }
    }

    pub(super) fn with_constant(&mut self, node: &Node<'a>, kind: Kind, constant: ValueId, first: bool) -> Kind {
        let scalar = self.graph.const_scalar(constant);
        match (node.op, kind) {
            ("Add" | "Sub", Kind::Scores(scores)) => {
                let bias = self.graph.num_elements(constant).is_none_or(|count| count > 1);
                if is_noise(self.graph, constant) {
                    self.findings.random = true;
                    return kind;
                }
                Kind::Scores(Scores { biased: scores.biased || bias, ..scores })
            }
            ("Mul", Kind::Picked(picked)) => match scalar {
                Some(factor) => {
                    Kind::Picked(Picked { scale: picked.scale * factor, stage: picked.stage + 1, ..picked })
                }
                None => Kind::Picked(Picked { stage: picked.stage + 1, ..picked }),
            },
            ("Div", Kind::Picked(picked)) if first => match scalar {
                Some(divisor) if divisor != 0.0 => {
                    Kind::Picked(Picked { scale: picked.scale / divisor, stage: picked.stage + 1, ..picked })
                }
                _ => Kind::Picked(picked),
            },
            (
                _,
                Kind::Scores(_) | Kind::Exponents(_) | Kind::SumOf(_) | Kind::Mask(_) | Kind::Places | Kind::Sorted(_),
            ) => kind,
            (_, Kind::Cumulated | Kind::GroupScores | Kind::Picked(_) | Kind::Factor) => kind,
            // Offsets of a numbering of another kind are still the same choices.
            ("Mod" | "Add" | "Mul" | "Div", Kind::Ids { axis }) if self.graph.num_elements(constant) == Some(1) => {
                Kind::Ids { axis }
            }
            _ => Kind::Other,
        }
    }

    pub(super) fn of_two(&mut self, _: NodeId, node: &Node<'a>, inputs: [ValueId; 2], a: Kind, b: Kind) -> Kind {
        match (node.op, a, b) {
            ("Div", Kind::Exponents(scores), Kind::SumOf(_)) => {
                let over_tokens = self.sums_tokens(inputs[1], scores);
                let made = Scores { function: ScoreFunction::Softmax, over_tokens, ..scores };
                if let Some(&output) = node.outputs.first()
                    && let Some(id) = self.graph.producer(output)
                {
                    self.findings.softmaxes.push((id, output, made));
                }
                match scores.masked {
                    Some(MaskOf::Choice) => Kind::Picked(Picked {
                        stage: 1,
                        after: ScoreFunction::Softmax,
                        ..picked(scores, true, scores.axis)
                    }),
                    _ => Kind::Scores(made),
                }
            }
            ("Div", Kind::Picked(picked), Kind::SumOf(_)) => {
                Kind::Picked(Picked { renormalized: true, stage: picked.stage + 1, ..picked })
            }
            ("Div", Kind::Picked(picked), Kind::Picked(Picked { of_one: true, dense: false, .. })) => {
                Kind::Picked(Picked { renormalized: true, stage: picked.stage + 1, ..picked })
            }
            // The sum over the chosen of something that was written down before they were picked.
            ("Div", Kind::Scores(scores), Kind::SumOf(_)) => Kind::Scores(scores),
            ("Mul", Kind::Scores(scores), Kind::Mask(mask)) | ("Mul", Kind::Mask(mask), Kind::Scores(scores)) => {
                match mask.of_choice() {
                    MaskOf::Choice | MaskOf::Limit | MaskOf::Cumulated if scores.function != ScoreFunction::None => {
                        self.note_mask(mask);
                        let of_one = mask == MaskOf::Rank;
                        Kind::Picked(Picked { stage: 1, of_one, ..picked(scores, true, scores.axis) })
                    }
                    mask => Kind::Scores(Scores { masked: Some(mask), ..scores }),
                }
            }
            ("Mul", Kind::Grouped(scores), Kind::Mask(mask)) | ("Mul", Kind::Mask(mask), Kind::Grouped(scores)) => {
                Kind::Grouped(Scores { masked: Some(mask), ..scores })
            }
            ("Mul", Kind::Sorted(scores), Kind::Mask(mask)) | ("Mul", Kind::Mask(mask), Kind::Sorted(scores)) => {
                self.note_mask(mask);
                Kind::Picked(picked(scores, false, scores.axis))
            }
            ("Mul" | "Add", Kind::Picked(p), Kind::Mask(_)) | ("Mul" | "Add", Kind::Mask(_), Kind::Picked(p)) => {
                // Weights of what an expert has no room for become zero; spread over experts they are dense.
                let spread = node.outputs.first().is_some_and(|&output| {
                    let rank = |value: ValueId| self.graph.shape(value).map_or(0, <[i64]>::len);
                    rank(output) > rank(inputs[0]).min(rank(inputs[1]))
                });
                if spread { Kind::Other } else { Kind::Picked(p) }
            }
            ("Mul", Kind::Picked(p), Kind::Factor) | ("Mul", Kind::Factor, Kind::Picked(p)) => {
                Kind::Picked(Picked { stage: p.stage + 1, ..p })
            }
            // The weights of two choices that are made one after the other.
            ("Add", Kind::Picked(p), Kind::Picked(_)) if !p.dense => Kind::SumOf(inputs[0]),
            ("Sub", Kind::Scores(scores), Kind::SumOf(_)) => Kind::Scores(scores),
            ("Sub", Kind::Scores(scores), Kind::Picked(_)) => Kind::Scores(scores),
            ("Sub", Kind::Cumulated, _) => Kind::Cumulated,
            ("Sub", Kind::Picked(p), _) => Kind::Picked(p),
            ("Mul", Kind::Mask(_), Kind::Places) | ("Mul", Kind::Places, Kind::Mask(_)) => Kind::Places,
            ("Sub" | "Add", Kind::Places, _) | ("Add", _, Kind::Places) => Kind::Places,
            ("Add" | "Or", Kind::Mask(MaskOf::Rank), Kind::Mask(MaskOf::Rank | MaskOf::Choice)) => {
                Kind::Mask(MaskOf::Choice)
            }
            // Whatever passes a limit, and the best one where nothing does.
            ("Add" | "Or" | "Max", Kind::Mask(MaskOf::Limit), Kind::Mask(_))
            | ("Add" | "Or" | "Max", Kind::Mask(_), Kind::Mask(MaskOf::Limit)) => {
                self.findings.falls_back = true;
                Kind::Mask(MaskOf::Limit)
            }
            ("Div", Kind::Mask(MaskOf::Limit), Kind::Mask(_)) if self.counts(inputs[1], inputs[0]) => {
                self.shared_alike(inputs[0])
            }
            (_, Kind::Mask(MaskOf::Room), Kind::Mask(mask)) => Kind::Mask(mask),
            (_, Kind::Mask(mask), Kind::Mask(_)) => Kind::Mask(mask),
            ("Add", Kind::Scores(scores), Kind::Mask(mask)) | ("Add", Kind::Mask(mask), Kind::Scores(scores)) => {
                Kind::Scores(Scores { masked: Some(mask.of_choice()), ..scores })
            }
            ("Add" | "Sub", Kind::Scores(scores), Kind::Scores(_)) => Kind::Scores(scores),
            _ => Kind::Other,
        }
    }

    /// Whether a value is the number of those that a mask says yes to.
    fn counts(&self, sum: ValueId, mask: ValueId) -> bool {
        let mut sum = skip_passive(self.graph, sum);
        // Nothing may be chosen, and is not divided by.
        if let Some((_, node)) = self.graph.producing(sum).filter(|(_, node)| matches!(node.op, "Add" | "Max")) {
            sum = node.input(0).map_or(sum, |input| skip_passive(self.graph, input));
        }
        let node = self.graph.producing(sum).map(|(_, node)| node).filter(|node| node.op == "ReduceSum");
        let of = node.and_then(|node| node.input(0)).map(|of| skip_passive(self.graph, of));
        of == Some(skip_passive(self.graph, mask))
    }

    /// Everything that passes a limit has the same weight.
    fn shared_alike(&mut self, mask: ValueId) -> Kind {
        self.note_mask(MaskOf::Limit);
        let axis = self.graph.shape(mask).and_then(|shape| shape.iter().rposition(|&size| Some(size) == self.width));
        let one_each = Scores {
            function: ScoreFunction::None,
            biased: false,
            axis,
            over_tokens: false,
            masked: Some(MaskOf::Limit),
            column: None,
        };
        Kind::Picked(Picked { renormalized: true, stage: 1, ..picked(one_each, true, axis) })
    }

    /// Whether a sum of scores goes over tokens rather than experts.
    fn sums_tokens(&self, sum: ValueId, scores: Scores) -> bool {
        let node = self.graph.producing(skip_passive(self.graph, sum)).map(|(_, node)| node);
        let axes = node.filter(|node| node.op == "ReduceSum").and_then(|node| self.graph.reduced_axes(node));
        matches!((axes, scores.axis), (Some(axes), Some(experts)) if !axes.contains(&experts))
    }

    pub(super) fn product(&self, node: &Node<'a>, value: ValueId) -> Kind {
        let kinds: Vec<Kind> = node.inputs.iter().flatten().filter_map(|&input| self.kind(input)).collect();
        let rank = |value: Option<ValueId>| value.and_then(|value| self.graph.shape(value)).map(<[i64]>::len);
        match kinds.as_slice() {
            [Kind::Scores(scores), Kind::Mask(mask @ (MaskOf::Choice | MaskOf::Rank))]
            | [Kind::Mask(mask @ (MaskOf::Choice | MaskOf::Rank)), Kind::Scores(scores)]
                if scores.function != ScoreFunction::None && rank(Some(value)) < rank(node.input(0)) =>
            {
                // Summed up over the experts, the score of the one that the mask says yes to.
                Kind::Picked(Picked { of_one: *mask == MaskOf::Rank, ..picked(*scores, false, None) })
            }
            [Kind::Mask(_), ..] if kinds.iter().all(|kind| matches!(kind, Kind::Mask(_))) => Kind::Mask(MaskOf::Choice),
            _ => Kind::Other,
        }
    }

    pub(super) fn reduce(&mut self, node: &Node<'a>) -> Kind {
        let Some(input) = node.input(0) else { return Kind::Other };
        let axes = self.graph.reduced_axes(node);
        let sums = matches!(node.op, "ReduceSum" | "ReduceL1");
        let over = |axis: Option<usize>| match (&axes, axis) {
            (Some(axes), Some(axis)) => axes.contains(&axis),
            _ => true,
        };
        match self.kind(input) {
            Some(Kind::Scores(scores)) if over(scores.axis) => match node.op {
                // The largest score is the weight of the best expert; a softmax that is written out subtracts it.
                "ReduceMax" => {
                    let kept = self.graph.int(node, "keepdims") != Some(0);
                    Kind::Picked(Picked { of_max: true, ..picked(scores, false, scores.axis.filter(|_| kept)) })
                }
                _ if sums => Kind::SumOf(input),
                _ => Kind::Other,
            },
            Some(Kind::Exponents(_)) if sums => Kind::SumOf(input),
            // Summed up over the experts, the weight of the one that was chosen.
            Some(Kind::Picked(picked)) if over(picked.axis) && sums && picked.of_one => {
                Kind::Picked(Picked { dense: false, axis: None, stage: picked.stage + 1, ..picked })
            }
            Some(Kind::Picked(picked)) if over(picked.axis) && sums => Kind::SumOf(input),
            Some(Kind::Grouped(_)) => Kind::GroupScores,
            Some(Kind::GroupScores) => Kind::GroupScores,
            Some(kind @ (Kind::Mask(_) | Kind::Places)) => kind,
            _ => Kind::Other,
        }
    }

    pub(super) fn passive(&self, node: &Node<'a>, value: ValueId) -> Kind {
        let index = usize::from(node.op == "If");
        let Some(input) = node.input(index) else { return Kind::Other };
        let moved = |axis: Option<usize>| axis.and_then(|axis| moved_axis(self.graph, node, input, value, axis));
        match self.kind(input) {
            Some(Kind::Scores(scores)) => {
                let axis = moved(scores.axis);
                if axis.is_none() && scores.axis.is_some() && self.splits_into_groups(value) {
                    return Kind::Grouped(scores);
                }
                Kind::Scores(Scores { axis, ..scores })
            }
            Some(Kind::Grouped(scores)) => match (self.width, self.graph.shape(value)) {
                (Some(width), Some(shape)) if shape.last() == Some(&width) => {
                    Kind::Scores(Scores { axis: Some(shape.len() - 1), ..scores })
                }
                _ => Kind::Grouped(scores),
            },
            Some(Kind::Picked(picked)) => Kind::Picked(Picked { axis: moved(picked.axis), ..picked }),
            Some(Kind::Ids { axis }) => Kind::Ids { axis: moved(axis) },
            Some(kind) => kind,
            None => Kind::Other,
        }
    }

    pub(super) fn splits_into_groups(&self, value: ValueId) -> bool {
        match (self.graph.shape(value), self.width) {
            (Some([.., groups, size]), Some(width)) => *groups > 1 && *size > 1 && groups * size == width,
            _ => false,
        }
    }
}
