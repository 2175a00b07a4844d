//! Which of a layer's values the heatmap shows, as far as the layer on screen has them.

use super::{AppState, OverlayKind};
use crate::routing::{LayerIdx, SlotIdx, SlotWeights};

impl AppState {
    /// What the heatmap shows: what was chosen, or the chosen experts where the layer on screen has nothing of it.
    #[must_use]
    pub fn overlay(&self) -> OverlayKind {
        let chosen = self.settings.overlay;
        let is_there = self.overlays().any(|overlay| overlay == chosen);
        if is_there { chosen } else { OverlayKind::default() }
    }

    /// What the heatmap can show of the layer on screen.
    pub fn overlays(&self) -> impl Iterator<Item = OverlayKind> + '_ {
        let usage = self.results.usage(self.view.layer);
        let is_there = move |overlay: &OverlayKind| usage.is_none_or(|usage| usage.overlays.contains(overlay));
        OverlayKind::ALL.into_iter().filter(is_there)
    }

    /// The weights of the slots of the layer on screen.
    #[must_use]
    pub fn shown_slots(&self) -> Option<&SlotWeights> {
        self.shown_layer()?.slots()
    }

    pub(super) fn set_overlay_index(&mut self, index: usize) {
        match self.overlay() {
            OverlayKind::ChosenExpert => self.view.rank = index,
            OverlayKind::GateProbability => self.view.gate_expert = index,
            OverlayKind::SlotDispatch | OverlayKind::SlotCombine => {
                let Some(per_expert) = self.shown_slots().map(SlotWeights::per_expert) else { return };
                let first = self.view.slot.0 / per_expert * per_expert;
                self.view.slot = SlotIdx(first + index.min(per_expert - 1));
            }
            OverlayKind::GateEntropy | OverlayKind::GateMargin | OverlayKind::ExpertCount => {}
        }
        self.clamp_view();
    }

    /// Shows another slot; its dispatch weights, if no slot was on screen.
    pub(super) fn select_slot(&mut self, slot: SlotIdx) {
        if self.shown_slots().is_none() {
            return;
        }
        if self.overlay().slot_weight().is_none() {
            self.settings.overlay = OverlayKind::SlotDispatch;
        }
        self.view.hide_overlay = false;
        self.view.slot = slot;
        self.clamp_view();
    }

    /// Shows a task's layers, and of them the one in the place of the layer on screen, or else its first one.
    pub(super) fn select_task(&mut self, task: usize) {
        let outline = self.results.outline();
        if task >= outline.tasks().len() {
            return;
        }
        let of_task =
            || outline.layers_of(task).find(|&layer| outline.row(layer).is_some_and(|row| row.task.is_some()));
        let layer = outline.counterpart(self.view.layer, task).or_else(of_task);
        self.set_layer(layer.unwrap_or(self.view.layer));
        self.view.task = task;
    }

    pub(super) fn step_task(&mut self, places: isize) {
        let count = self.results.outline().tasks().len();
        if count > 0 {
            self.select_task((self.view.task as isize + places).rem_euclid(count as isize) as usize);
        }
    }

    pub(super) fn step_layer(&mut self, places: isize) {
        self.set_layer(self.results.outline().step(self.view.layer, places, self.view.task));
    }

    /// Lists the layers of the task that the layer on screen belongs to.
    pub(super) fn follow_task(&mut self) {
        let outline = self.results.outline();
        let task = outline.row(self.view.layer).and_then(|row| row.task).unwrap_or(self.view.task);
        self.view.task = task.min(outline.tasks().len().saturating_sub(1));
    }

    /// The layer's name for a sentence, as [`super::Outline::title`] has it.
    #[must_use]
    pub fn layer_title(&self, layer: LayerIdx) -> String {
        self.results.outline().title(layer)
    }
}
