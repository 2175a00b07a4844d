//! Which of several choices a value belongs to, where first and second choices go ways of their own: two arg maxes, or a
//! top-k that is taken apart.

use super::super::kinds::Kind;
use super::Walk;
use crate::model::graph::{Node, ValueId};

/// Whose value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rank {
    /// That of one choice, counted from 0.
    One(usize),
    /// Made of several choices.
    Several,
}

impl<'a> Walk<'_, 'a> {
    /// The choice that a value belongs to; none for what belongs to all alike, as probabilities do.
    pub(in super::super) fn rank(&self, value: ValueId) -> Option<Rank> {
        self.ranks.get(&value).copied()
    }

    /// Keeps the choice that a node's output belongs to; its kind is known.
    pub(super) fn note_rank(&mut self, node: &Node<'a>, output: usize, value: ValueId) {
        if let Some(rank) = self.rank_of(node, output, value) {
            self.ranks.insert(value, rank);
        }
    }

    fn rank_of(&self, node: &Node<'a>, output: usize, value: ValueId) -> Option<Rank> {
        let chose =
            self.findings.choices.last().is_some_and(|choice| self.graph.node(choice.node).outputs == node.outputs);
        if chose {
            let is_one = node.op == "ArgMax" || node.input(1).and_then(|k| self.graph.const_int(k)) == Some(1);
            return is_one.then(|| Rank::One(self.findings.choices.len() - 1));
        }
        if let Some(place) = self.taken_out(node, output, value) {
            return Some(Rank::One(place));
        }
        let of = |value: ValueId| self.ranks.get(&value).copied();
        // First choices are divided by a sum of both, and second choices stand behind the first.
        let leads = |value: &ValueId| match node.op {
            "Div" => Some(*value) == node.input(0),
            "Add" | "Sub" => matches!(self.kind(*value), Some(Kind::Places)),
            _ => false,
        };
        let leading: Vec<Rank> = self.graph.data_inputs(node).filter(leads).filter_map(of).collect();
        let join = |a, b| if a == b { a } else { Rank::Several };
        leading.into_iter().reduce(join).or_else(|| self.graph.data_inputs(node).filter_map(of).reduce(join))
    }

    /// The place of one choice that a node takes out of the list of all.
    fn taken_out(&self, node: &Node<'a>, output: usize, value: ValueId) -> Option<usize> {
        let list = node.input(0)?;
        let axis = match self.kind(list)? {
            Kind::Ids { axis } => axis?,
            Kind::Picked(picked) if !picked.dense => picked.axis?,
            _ => return None,
        };
        let rank = self.graph.shape(list)?.len();
        let is_one = || self.graph.shape(value)?.get(axis).map(|&size| size == 1);
        match node.op {
            "Split" if self.graph.axis(node, 0, rank) == Some(axis) && is_one()? => Some(output),
            "Slice" if self.graph.shape(list)?.get(axis) != Some(&1) && is_one()? => {
                usize::try_from(self.graph.const_int(node.input(1)?)?).ok()
            }
            "Gather" if self.graph.axis(node, 0, rank) == Some(axis) => {
                usize::try_from(self.graph.const_int(node.input(1)?)?).ok()
            }
            _ => None,
        }
    }
}
