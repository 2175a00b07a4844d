//! What a person changes about the routing of an open model: experts that may not be chosen, ranks that have no say.
//!
//! Plain data, so that it can be part of a wish, of the key of a result and of the result itself: whatever shows a result
//! can tell whether it is what the model does by itself.

use crate::routing::ExpertIdx;
use std::collections::{BTreeMap, BTreeSet};

/// Changes by layer, a layer being its place in [`OpenModel::layers`](super::OpenModel::layers). A router that runs in a
/// loop is one layer there: it is changed in every iteration. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoutingChange {
    layers: BTreeMap<usize, LayerChange>,
}

/// What is changed about one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LayerChange {
    /// Experts that no token may choose.
    pub banned: BTreeSet<ExpertIdx>,
    /// Ranks, from 0, whose weight is 0: the expert is chosen and has no say.
    pub left_out: BTreeSet<usize>,
}

/// Why the routing cannot be changed as it was wished.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such layer.
    #[error("there is no layer {layer}: {}", layers_there_are(*.count))]
    Layer {
        /// The layer, by its number from 1 on or by its name.
        layer: String,
        /// How many there are.
        count: usize,
    },
    /// There is no such expert.
    #[error("there is no expert {expert} in layer {layer}: it has the experts 0 to {}", num_experts.saturating_sub(1))]
    Expert {
        /// The layer's name.
        layer: String,
        /// The expert.
        expert: u32,
        /// E.
        num_experts: usize,
    },
    /// There is no such rank.
    #[error("there is no rank {} in layer {layer}: each token has {ranks} there", rank + 1)]
    Rank {
        /// The layer's name.
        layer: String,
        /// The rank, from 0.
        rank: usize,
        /// k.
        ranks: usize,
    },
    /// Fewer experts are left than each token takes.
    #[error("{left} experts of layer {layer} are not banned, and each token takes {top_k}: ban fewer, or lower top-k")]
    TooFew {
        /// The layer's name.
        layer: String,
        /// Experts that are left.
        left: usize,
        /// k.
        top_k: usize,
    },
    /// No rank is left.
    #[error("every rank of layer {layer} is left out: keep one")]
    NoRank {
        /// The layer's name.
        layer: String,
    },
    /// The control does not exist for this layer, or was not proved.
    #[error("the routing of layer {layer} cannot be changed in this way. {reason}")]
    Refused {
        /// The layer's name.
        layer: String,
        /// Why, in a sentence.
        reason: String,
    },
    /// The model cannot be edited.
    #[error("the routing of this model cannot be changed. {reason}")]
    Model {
        /// Why, in a sentence.
        reason: String,
    },
}

impl ChangeError {
    /// Whether the wish itself is wrong, rather than the model unable to fulfil it.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Model { .. })
    }
}

impl RoutingChange {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers that are changed, in their order.
    pub fn layers(&self) -> impl Iterator<Item = (usize, &LayerChange)> {
        self.layers.iter().map(|(&layer, change)| (layer, change))
    }

    /// What is changed about one layer, if anything is.
    #[must_use]
    pub fn of(&self, layer: usize) -> Option<&LayerChange> {
        self.layers.get(&layer)
    }

    /// Whether an expert is banned.
    #[must_use]
    pub fn is_banned(&self, layer: usize, expert: ExpertIdx) -> bool {
        self.of(layer).is_some_and(|change| change.banned.contains(&expert))
    }

    /// Whether a rank, from 0, is left out.
    #[must_use]
    pub fn is_left_out(&self, layer: usize, rank: usize) -> bool {
        self.of(layer).is_some_and(|change| change.left_out.contains(&rank))
    }

    /// Bans an expert, or allows one that is banned.
    pub fn toggle_expert(&mut self, layer: usize, expert: ExpertIdx) {
        self.edit(layer, |change| toggle(&mut change.banned, expert));
    }

    /// Leaves a rank out, or takes it in again.
    pub fn toggle_rank(&mut self, layer: usize, rank: usize) {
        self.edit(layer, |change| toggle(&mut change.left_out, rank));
    }

    /// Changes one layer; one that is as the model has it is not kept.
    pub fn edit(&mut self, layer: usize, edit: impl FnOnce(&mut LayerChange)) {
        let change = self.layers.entry(layer).or_default();
        edit(change);
        if *change == LayerChange::default() {
            self.layers.remove(&layer);
        }
    }

    /// The change as part of a sentence, such as `expert 3 banned in layer 2`; `name_of` names a layer there. Empty for
    /// none.
    #[must_use]
    pub fn in_words(&self, name_of: impl Fn(usize) -> String) -> String {
        let of_layer = |(&layer, change): (&usize, &LayerChange)| {
            let experts = named("expert", change.banned.iter().map(|expert| expert.0 as usize));
            let ranks = named("rank", change.left_out.iter().map(|rank| rank + 1));
            let parts =
                [experts.map(|experts| format!("{experts} banned")), ranks.map(|ranks| format!("{ranks} left out"))];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!("{} in {}", parts.join(" and "), name_of(layer))
        };
        self.layers.iter().map(of_layer).collect::<Vec<_>>().join("; ")
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, element: T) {
    if !set.remove(&element) {
        set.insert(element);
    }
}

/// `expert 3`, or `experts 1, 3 and 5`.
fn named(noun: &str, numbers: impl Iterator<Item = usize>) -> Option<String> {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    match numbers.split_last()? {
        (last, []) => Some(format!("{noun} {last}")),
        (last, first) => Some(format!("{noun}s {} and {last}", first.join(", "))),
    }
}

fn layers_there_are(count: usize) -> String {
    match count {
        0 => "no routers are known in this model".to_owned(),
        1 => "this model has one".to_owned(),
        count => format!("this model has the layers 1 to {count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut change = RoutingChange::default();
        change.toggle_expert(2, ExpertIdx(3));
        change.toggle_rank(2, 1);
        assert!(change.is_banned(2, ExpertIdx(3)) && change.is_left_out(2, 1) && !change.is_none());
        change.toggle_expert(2, ExpertIdx(3));
        assert!(!change.is_banned(2, ExpertIdx(3)) && !change.is_none());
        change.toggle_rank(2, 1);
        assert_eq!(change, RoutingChange::default(), "so that its results are those of the model itself");
    }

    #[test]
    fn a_change_is_told_layer_by_layer() {
        let name = |layer: usize| format!("layer {}", layer + 1);
        let mut change = RoutingChange::default();
        assert_eq!(change.in_words(name), "");
        change.toggle_expert(1, ExpertIdx(3));
        assert_eq!(change.in_words(name), "expert 3 banned in layer 2");
        change.toggle_rank(1, 0);
        for expert in [7, 0, 2] {
            change.toggle_expert(0, ExpertIdx(expert));
        }
        let text = "experts 0, 2 and 7 banned in layer 1; expert 3 banned and rank 1 left out in layer 2";
        assert_eq!(change.in_words(name), text);
    }
}
