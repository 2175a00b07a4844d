//! What the person changes about how the model routes: its k, banned experts, ranks that are left out; and why some of it
//! is not possible.

use super::AppState;
use crate::analysis::{LayerOffer, OpenModel, RoutingChange};
use crate::routing::{ExpertIdx, LayerRouting};
use std::sync::Arc;

/// The change that is wanted, and what can be changed.
#[derive(Debug, Default)]
pub struct ChangeState {
    /// The change that is wanted.
    pub wanted: RoutingChange,
    /// What can be changed about each layer of the open model; `None` until it was found out.
    offers: Option<Arc<[LayerOffer]>>,
}

impl ChangeState {
    /// Another model is open, of which so much is known.
    pub(super) fn forget(&mut self, offers: Option<Vec<LayerOffer>>) {
        *self = Self { wanted: RoutingChange::default(), offers: offers.map(Into::into) };
    }
}

impl AppState {
    /// The top-k that is wanted, if the open model has such an input.
    #[must_use]
    pub fn wanted_top_k(&self) -> Option<usize> {
        let range = self.model.open.as_ref()?.card.top_k.as_ref()?;
        Some(self.top_k.unwrap_or(range.default).clamp(range.min, range.max))
    }

    /// The largest top-k that the model can be given: with banned experts, no more than are left.
    #[must_use]
    pub fn most_top_k(&self) -> Option<usize> {
        let model = self.model.open.as_ref()?;
        let range = model.card.top_k.as_ref()?;
        let left =
            self.changes.wanted.layers().filter(|(_, change)| !change.banned.is_empty()).filter_map(|(at, change)| {
                Some(model.layers.get(at)?.card.num_experts.saturating_sub(change.banned.len()))
            });
        Some(left.fold(range.max, usize::min).max(range.min))
    }

    /// Whether the layer on screen is changed in the result that is shown, or will be in the one that is wanted.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changes.wanted.is_none() || self.shown().is_some_and(|shown| !shown.analysis.change.is_none())
    }

    /// Whether an edited model is being loaded and proved, so that a change becomes possible.
    #[must_use]
    pub fn is_proving(&self) -> bool {
        self.updating && !self.changes.wanted.is_none() && self.changes.offers.is_none()
    }

    /// Whether the person wants an expert of the layer on screen to be banned.
    #[must_use]
    pub fn is_ban_wanted(&self, expert: ExpertIdx) -> bool {
        self.shown_source_index().is_some_and(|layer| self.changes.wanted.is_banned(layer, expert))
    }

    /// Whether the person wants a rank, from 0, of the layer on screen to be left out.
    #[must_use]
    pub fn is_rank_out_wanted(&self, rank: usize) -> bool {
        self.shown_source_index().is_some_and(|layer| self.changes.wanted.is_left_out(layer, rank))
    }

    /// How many ranks a token of the layer on screen has.
    #[must_use]
    pub fn num_ranks(&self) -> usize {
        self.wanted_top_k().or_else(|| self.shown_layer().map(LayerRouting::top_k)).unwrap_or(0)
    }

    /// Why no further expert of the layer on screen can be banned, in a sentence.
    #[must_use]
    pub fn ban_obstacle(&self) -> Option<String> {
        let Some((layer, routing)) = self.shown_source_index().zip(self.shown_layer()) else {
            return Some("No layer is shown".to_owned());
        };
        let refused = self.offer(layer).and_then(|offer| offer.ban.clone().err());
        let banned = self.changes.wanted.of(layer).map_or(0, |change| change.banned.len());
        let top_k = self.num_ranks();
        let too_few = routing.num_experts() <= banned + top_k;
        refused.or_else(|| {
            too_few.then(|| format!("Each token takes {top_k} experts, and no more are left in this layer"))
        })
    }

    /// Why no further rank of the layer on screen can be left out, in a sentence.
    #[must_use]
    pub fn rank_obstacle(&self) -> Option<String> {
        let Some(layer) = self.shown_source_index() else { return Some("No layer is shown".to_owned()) };
        let refused = self.offer(layer).and_then(|offer| offer.ranks.clone().err());
        let left_out = self.changes.wanted.of(layer).map_or(0, |change| change.left_out.len());
        refused.or_else(|| (left_out + 1 >= self.num_ranks()).then(|| "One rank has to stay".to_owned()))
    }

    fn offer(&self, layer: usize) -> Option<&LayerOffer> {
        self.changes.offers.as_ref()?.get(layer)
    }

    /// The layer on screen, by its place among the model's layers.
    fn shown_source_index(&self) -> Option<usize> {
        Some(self.shown()?.analysis.places.get(self.view.layer.0)?.source)
    }

    pub(super) fn set_top_k(&mut self, top_k: usize) {
        let range = self.model.open.as_ref().and_then(|model| model.card.top_k.as_ref());
        let Some((min, most)) = range.map(|range| range.min).zip(self.most_top_k()) else { return };
        let top_k = top_k.clamp(min, most);
        self.top_k = Some(top_k);
        // Ranks that are no more cannot be left out, and one has to stay.
        let changed: Vec<usize> = self.changes.wanted.layers().map(|(layer, _)| layer).collect();
        for layer in changed {
            self.changes.wanted.edit(layer, |change| {
                change.left_out.retain(|&rank| rank < top_k);
                if change.left_out.len() >= top_k {
                    change.left_out.clear();
                }
            });
        }
    }

    pub(super) fn toggle_ban(&mut self, expert: ExpertIdx) {
        let known = self.shown_layer().is_some_and(|layer| (expert.0 as usize) < layer.num_experts());
        let Some(layer) = self.shown_source_index().filter(|_| known) else { return };
        if self.is_ban_wanted(expert) || self.ban_obstacle().is_none() {
            self.changes.wanted.toggle_expert(layer, expert);
        }
    }

    pub(super) fn toggle_rank(&mut self, rank: usize) {
        let Some(layer) = self.shown_source_index().filter(|_| rank < self.num_ranks()) else { return };
        if self.is_rank_out_wanted(rank) || self.rank_obstacle().is_none() {
            self.changes.wanted.toggle_rank(layer, rank);
        }
    }

    pub(super) fn hear_offers(&mut self, model: Arc<OpenModel>, offers: Arc<[LayerOffer]>) {
        if self.model.open.as_ref().is_some_and(|open| open.is_same(&model)) {
            self.changes.offers = Some(offers);
            self.model.open = Some(model);
        }
    }

    /// Back to what is shown, or else to the model as it is.
    pub(super) fn change_refused(&mut self, change: &RoutingChange, message: String) {
        self.updating = false;
        if self.changes.wanted == *change {
            let shown = self.shown().map(|shown| shown.analysis.change.clone()).unwrap_or_default();
            self.changes.wanted = if shown == *change { RoutingChange::default() } else { shown };
        }
        self.notify("The routing was not changed", message);
    }
}
