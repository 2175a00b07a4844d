//! Choices: top-k, arg-max, and the softmax around them.

use super::super::kinds::{Choice, Counted, Kind, MaskOf, Picked, Scores};
use super::super::report::{Groups, ScoreFunction};
use super::{Walk, picked};
use crate::model::graph::{Node, NodeId, ValueId};

impl<'a> Walk<'_, 'a> {
    pub(super) fn top_k(&mut self, id: NodeId, node: &Node<'a>, output: usize) -> Kind {
        let Some(input) = node.input(0) else { return Kind::Other };
        match (self.kind(input), output) {
            (Some(Kind::Scores(scores)), 0) => self.choose_experts(id, node, scores),
            (Some(Kind::Scores(_)), _) => match node.output(0).and_then(|values| self.kind(values)) {
                Some(Kind::Sorted(_)) => {
                    self.add_ids(node.output(1), self.axis_of(node, -1));
                    Kind::SortedIds
                }
                _ => self.add_ids(node.output(1), self.axis_of(node, -1)),
            },
            (Some(Kind::Grouped(_)), 0) => Kind::GroupScores,
            (Some(Kind::GroupScores), 0) => {
                let kept = node.input(1).and_then(|k| self.graph.const_int(k)).or_else(|| self.graph.int(node, "k"));
                let sizes = self.size_along(node, -1).zip(kept);
                let counts = sizes.and_then(|(n, kept)| Some((usize::try_from(n).ok()?, usize::try_from(kept).ok()?)));
                self.findings.groups = counts.map(|(n, kept)| Groups { n, kept }).or(self.findings.groups);
                Kind::Other
            }
            (Some(Kind::GroupScores), _) => Kind::GroupIds,
            (Some(Kind::Picked(picked)), _) if picked.dense => self.keep_tokens(node, picked, output),
            _ => Kind::Other,
        }
    }

    /// Of the tokens that chose it, each expert keeps the best (Megatron-Core).
    fn keep_tokens(&mut self, node: &Node<'a>, picked: Picked, output: usize) -> Kind {
        let (Some(mask), Some(axis)) = (node.input(0), self.axis_of(node, -1)) else { return Kind::Other };
        if output == 0 || picked.axis.is_none() || picked.axis == Some(axis) {
            return Kind::Other;
        }
        let per_expert = node.input(1).and_then(|k| self.graph.const_int(k)).and_then(|k| usize::try_from(k).ok());
        self.findings.capacity = self.findings.capacity.or(Some(per_expert));
        self.findings.counted = self.findings.counted.or(Some(Counted { mask, axis, is_sorted: true }));
        Kind::TokenIds
    }

    fn choose_experts(&mut self, id: NodeId, node: &Node<'a>, scores: Scores) -> Kind {
        let choice = self.choice(id, node, scores, -1);
        if !choice.of_tokens && node.output(0).is_some_and(|values| self.is_accumulated(values)) {
            return Kind::Sorted(scores);
        }
        self.findings.choices.push(choice);
        Kind::Picked(picked(scores, false, self.axis_of(node, -1)))
    }

    fn choice(&self, id: NodeId, node: &Node<'a>, scores: Scores, default_axis: i64) -> Choice {
        let other_axis = matches!((self.axis_of(node, default_axis), scores.axis), (Some(a), Some(b)) if a != b);
        Choice {
            node: id,
            scores,
            among: self.size_along(node, default_axis),
            of_tokens: scores.column.is_some() || other_axis,
            cascaded: scores.masked == Some(MaskOf::Choice) && !self.findings.choices.is_empty(),
        }
    }

    /// Whether sorted values are summed up one after the other, perhaps behind a softmax.
    fn is_accumulated(&self, mut value: ValueId) -> bool {
        for _ in 0..4 {
            let mut next = None;
            for reader in self.graph.data_consumers(value) {
                match self.graph.node(reader).op {
                    "CumSum" => return true,
                    "Softmax" | "Cast" | "Identity" => next = self.graph.node(reader).output(0),
                    _ => {}
                }
            }
            match next {
                Some(output) => value = output,
                None => return false,
            }
        }
        false
    }

    /// The axis along which a node chooses, counted from the front.
    fn axis_of(&self, node: &Node<'a>, default: i64) -> Option<usize> {
        self.graph.axis(node, default, self.graph.shape(node.input(0)?)?.len())
    }

    /// The size of that axis.
    fn size_along(&self, node: &Node<'a>, default: i64) -> Option<i64> {
        let size = *self.graph.shape(node.input(0)?)?.get(self.axis_of(node, default)?)?;
        (size >= 0).then_some(size)
    }

    pub(super) fn add_ids(&mut self, ids: Option<ValueId>, axis: Option<usize>) -> Kind {
        if let Some(ids) = ids {
            self.findings.ids = Some((ids, axis));
        }
        Kind::Ids { axis }
    }

    pub(super) fn arg_max(&mut self, id: NodeId, node: &Node<'a>, value: ValueId) -> Kind {
        match node.input(0).and_then(|input| self.kind(input)) {
            Some(Kind::Scores(scores)) => {
                let choice = self.choice(id, node, scores, 0);
                self.findings.choices.push(choice);
                let kept = self.graph.int(node, "keepdims") != Some(0);
                self.add_ids(Some(value), self.axis_of(node, 0).filter(|_| kept))
            }
            Some(Kind::GroupScores) => Kind::GroupIds,
            _ => Kind::Other,
        }
    }

    pub(super) fn softmax(&mut self, id: NodeId, node: &Node<'a>, first: Option<Kind>, value: ValueId) -> Kind {
        let rank = self.graph.shape(value).map(<[i64]>::len);
        let axis = rank.and_then(|rank| self.graph.axis(node, -1, rank));
        match first {
            Some(Kind::Scores(scores)) => self.scores_softmax(id, scores, axis, value),
            Some(Kind::Picked(picked)) => {
                Kind::Picked(Picked { after: ScoreFunction::Softmax, stage: picked.stage + 1, ..picked })
            }
            Some(Kind::Sorted(scores)) => Kind::Sorted(Scores { function: ScoreFunction::Softmax, ..scores }),
            _ => Kind::Other,
        }
    }

    pub(super) fn scores_softmax(&mut self, id: NodeId, scores: Scores, axis: Option<usize>, value: ValueId) -> Kind {
        let over_tokens = matches!((axis, scores.axis), (Some(axis), Some(experts)) if axis != experts);
        let made = Scores { function: ScoreFunction::Softmax, over_tokens, ..scores };
        self.findings.softmaxes.push((id, value, made));
        match scores.masked {
            // Logits of all others were set to minus infinity: what is left is a softmax over the kept.
            Some(MaskOf::Choice) => {
                let dense = Picked { stage: 1, after: ScoreFunction::Softmax, ..picked(scores, true, scores.axis) };
                Kind::Picked(dense)
            }
            _ => Kind::Scores(made),
        }
    }
}
