//! What the person looks at: which layer, which overlay, which expert or patch is picked out.

use super::AppState;
use crate::routing::{ExpertIdx, LayerIdx, LayerRouting, PatchIdx, SlotIdx, SlotWeight};
use serde::{Deserialize, Serialize};

/// What the heatmap shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverlayKind {
    /// The expert that was chosen at one rank, in the expert's colour.
    #[default]
    ChosenExpert,
    /// The gate probability of one expert.
    GateProbability,
    /// The entropy of the gate over all experts.
    GateEntropy,
    /// How far the last chosen expert is ahead of the best one not chosen.
    GateMargin,
    /// How many experts handled each patch, where that differs.
    ExpertCount,
    /// Of which patches one slot of a Soft MoE is mixed.
    SlotDispatch,
    /// Which patches take from one slot of a Soft MoE.
    SlotCombine,
}

impl OverlayKind {
    /// All of them, in the order of the menu.
    pub const ALL: [Self; 7] = [
        Self::ChosenExpert,
        Self::GateProbability,
        Self::GateEntropy,
        Self::GateMargin,
        Self::ExpertCount,
        Self::SlotDispatch,
        Self::SlotCombine,
    ];

    /// Whether there is anything of it to see in a layer: most have no slots, and as many experts for every patch.
    #[must_use]
    pub fn is_of(self, layer: &LayerRouting) -> bool {
        match self {
            Self::ChosenExpert | Self::GateProbability | Self::GateEntropy | Self::GateMargin => true,
            Self::ExpertCount => {
                let mut counts = layer.patches().map(|patch| layer.num_serving(patch));
                let first = counts.next();
                counts.any(|count| Some(count) != first)
            }
            Self::SlotDispatch | Self::SlotCombine => layer.slots().is_some(),
        }
    }

    /// Which of a slot's weights it shows.
    #[must_use]
    pub fn slot_weight(self) -> Option<SlotWeight> {
        match self {
            Self::SlotDispatch => Some(SlotWeight::Dispatch),
            Self::SlotCombine => Some(SlotWeight::Combine),
            _ => None,
        }
    }

    /// Name on screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ChosenExpert => "Chosen expert",
            Self::GateProbability => "Gate probability",
            Self::GateEntropy => "Gate entropy",
            Self::GateMargin => "Gate margin",
            Self::ExpertCount => "Experts per patch",
            Self::SlotDispatch => "Slot dispatch",
            Self::SlotCombine => "Slot combine",
        }
    }

    /// One sentence for the tooltip.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::ChosenExpert => {
                "Each patch has the colour of the expert that handled it; the stronger its combine weight, the more opaque"
            }
            Self::GateProbability => {
                "How likely the router finds one expert for each patch (softmax over all experts, before top-k)"
            }
            Self::GateEntropy => {
                "How undecided the router is: 0 is certain, ln E (the number of experts) is a coin toss between all"
            }
            Self::GateMargin => {
                "How far the last chosen expert is ahead of the first one left out: a small margin means that a little noise changes the choice"
            }
            Self::ExpertCount => {
                "How many experts handled each patch: chosen ones that had no room for it, or no say, are not counted"
            }
            Self::SlotDispatch => {
                "Of which patches one slot is mixed: each patch's share of what the slot's expert gets (softmax over all tokens)"
            }
            Self::SlotCombine => {
                "Which patches take from one slot: its share of what each patch gets back (softmax over the slots of all experts)"
            }
        }
    }
}

/// A side panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Images, samples and layers.
    Left,
    /// Predictions, routing, load and the inspector.
    Right,
}

/// What lies over the window until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sheet {
    /// The keys and what they do.
    Shortcuts,
    /// Everything about the open model.
    Model,
    /// How the open model is fed, to be corrected.
    Card,
    /// The comparison with another provider.
    Parity,
}

impl Sheet {
    /// Whether nothing else can be done while it is open.
    #[must_use]
    pub fn is_modal(self) -> bool {
        match self {
            Self::Shortcuts | Self::Model => true,
            Self::Card | Self::Parity => false,
        }
    }
}

/// What the person looks at. Indices may be out of range for a newly opened model; [`View::clamp`] mends that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The layer on screen.
    pub layer: LayerIdx,
    /// The rank that the heatmap shows, from 0.
    pub rank: usize,
    /// The expert whose gate probability the heatmap shows, from 0.
    pub gate_expert: usize,
    /// The slot that the heatmap shows, where experts have slots.
    pub slot: SlotIdx,
    /// The task whose layers are listed, where there are several.
    pub task: usize,
    /// The side panel that is open while the window is too narrow for both.
    pub narrow_side: Option<Side>,
    /// Whether the heatmap is hidden, so that the photo alone is seen.
    pub hide_overlay: bool,
    /// Only this expert's patches are lit.
    pub lit_expert: Option<ExpertIdx>,
    /// This patch stays in the inspector.
    pub pinned: Option<PatchIdx>,
}

impl View {
    /// Brings every index into the range of the routing that is on screen.
    pub fn clamp(&mut self, layers: &[LayerRouting]) {
        self.layer.0 = self.layer.0.min(layers.len().saturating_sub(1));
        let Some(layer) = layers.get(self.layer.0) else {
            *self = Self { layer: self.layer, narrow_side: self.narrow_side, ..Self::default() };
            return;
        };
        self.rank = self.rank.min(layer.top_k() - 1);
        self.gate_expert = self.gate_expert.min(layer.num_experts() - 1);
        self.slot.0 = self.slot.0.min(layer.slots().map_or(0, |slots| slots.num_slots() - 1));
        self.lit_expert = self.lit_expert.filter(|expert| (expert.0 as usize) < layer.num_experts());
        self.pinned = self.pinned.filter(|patch| patch.0 < layer.num_tokens());
    }

    /// Lights one expert; the same one again lights all.
    pub fn toggle_lit(&mut self, expert: ExpertIdx) {
        self.lit_expert = if self.lit_expert == Some(expert) { None } else { Some(expert) };
    }
}

impl AppState {
    pub(super) fn set_layer(&mut self, layer: LayerIdx) {
        let before = self.view.layer;
        self.view.layer = layer;
        self.clamp_view();
        self.move_pin_to_grid_of(before);
    }

    /// A layer of another grid has another patch under the same place of the image.
    fn move_pin_to_grid_of(&mut self, before: LayerIdx) {
        let Some((shown, pinned)) = self.results.shown().zip(self.view.pinned) else { return };
        let (from, to) = (shown.analysis.grid(before), shown.analysis.grid(self.view.layer));
        if from != to {
            self.view.pinned = from.zip(to).and_then(|(from, to)| {
                let pixels = from.pixels_from_patch(pinned);
                to.patch_from_pixel(pixels.x + pixels.width / 2.0, pixels.y + pixels.height / 2.0)
            });
        }
    }

    pub(super) fn move_pin(&mut self, rows: isize, cols: isize) {
        let Some(grid) = self.results.shown().and_then(|shown| shown.analysis.grid(self.view.layer)) else { return };
        let Some(pinned) = self.view.pinned else {
            self.view.pinned = grid.patch_at(grid.rows / 2, grid.cols / 2);
            return self.clamp_view();
        };
        let (row, col) = grid.row_col(pinned);
        let to = |at: usize, by: isize, count: usize| at.saturating_add_signed(by).min(count.saturating_sub(1));
        self.view.pinned = grid.patch_at(to(row, rows, grid.rows), to(col, cols, grid.cols));
    }

    pub(super) fn clamp_view(&mut self) {
        let layers = self.results.shown().map(|shown| shown.analysis.trace.layers.as_slice()).unwrap_or_default();
        self.view.clamp(layers);
        self.follow_task();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TopK;

    #[test]
    fn a_smaller_model_brings_every_index_into_its_range() {
        let layer = LayerRouting::new("l", 2, TopK::new(1, 2).unwrap(), vec![0.5; 4], &[0, 1], vec![1.0; 2]).unwrap();
        let mut view = View {
            layer: LayerIdx(6),
            rank: 3,
            gate_expert: 7,
            slot: SlotIdx(9),
            task: 0,
            lit_expert: Some(ExpertIdx(2)),
            pinned: Some(PatchIdx(2)),
            hide_overlay: true,
            narrow_side: None,
        };
        view.clamp(&[layer]);
        assert_eq!(view, View { gate_expert: 1, hide_overlay: true, ..View::default() });
    }
}
