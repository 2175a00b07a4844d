//! What can be changed about the routers of an open model beyond what its own inputs change, and by which session.

use super::OpenModel;
use super::assemble::UsedRanks;
use super::change::{ChangeError, LayerChange, RoutingChange};
use super::edited::ProvedModel;
use super::sessions::{Changeable, Sessions};
use crate::engine::{Engine, EngineError, Tensor};
use crate::model::routers::{ExpertForm, RouterReport};
use crate::model::{ModelCard, Obstacle, Offer, RouterControls, TopKCard, TopKInput};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What was edited into a model when it was opened, and what is loaded for it later.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    edit: Edit,
    /// Why k cannot be changed, in a sentence; `None` where it can, or where nothing is known.
    pub top_k_obstacle: Option<String>,
    top_k_in_nodes: bool,
    pub(super) sessions: Arc<Sessions>,
}

#[derive(Clone, Debug, Default)]
enum Edit {
    /// It was opened as it is.
    #[default]
    Untried,
    /// It cannot be edited: why, in a sentence.
    Refused(String),
    /// It was opened edited.
    Proved(Arc<ProvedModel>),
}

/// What can be changed about one layer; else why not, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerOffer {
    /// Whether experts can be banned.
    pub ban: Result<(), String>,
    /// Whether ranks can be left out.
    pub ranks: Result<(), String>,
}

impl Controls {
    /// None at all, for this reason.
    pub(super) fn none(reason: String) -> Self {
        Self { edit: Edit::Refused(reason.clone()), top_k_obstacle: Some(reason), ..Self::default() }
    }

    /// Those of an edited model. Where one number can be the k of all its routers, and `card` has no k of its own, it gets
    /// that.
    pub(super) fn of(proved: ProvedModel, report: &RouterReport, card: &mut ModelCard) -> Self {
        let mut controls = Self::default();
        if card.top_k.is_none() {
            let range = match proved.top_k_range() {
                Err(Obstacle::Operator) => operator_range(report),
                range => range,
            };
            match top_k_card(&proved, range) {
                Ok(top_k) => card.top_k = Some(top_k),
                Err(obstacle) => controls.top_k_obstacle = Some(obstacle),
            }
            controls.top_k_in_nodes = card.top_k.is_some() && proved.top_k_range() == Err(Obstacle::Operator);
        }
        Self { edit: Edit::Proved(Arc::new(proved)), ..controls }
    }

    /// Those of a model that was opened as it is, once they are known.
    pub(super) fn know(&mut self, changeable: Changeable) {
        self.edit = changeable.map_or_else(Edit::Refused, Edit::Proved);
    }

    /// Whether k lies in the graph's nodes, so that each k is a session of its own.
    #[must_use]
    pub fn top_k_in_nodes(&self) -> bool {
        self.top_k_in_nodes
    }

    /// What can be changed about a router of which a smaller k leaves its last ranks out, which the graph runs nevertheless.
    pub(super) fn running_all_ranks(&self, router: usize) -> Option<&RouterControls> {
        let Edit::Proved(proved) = &self.edit else { return None };
        let controls = proved.instrumented.routers.get(router)?;
        (controls.top_k.is_err() && controls.rank_weights.is_ok()).then_some(controls)
    }

    /// What is known since the model was opened.
    pub(super) fn changeable(&self) -> Option<Changeable> {
        match &self.edit {
            Edit::Untried => None,
            Edit::Refused(reason) => Some(Err(reason.clone())),
            Edit::Proved(proved) => Some(Ok(Arc::clone(proved))),
        }
    }
}

impl OpenModel {
    /// What can be changed about each of [`layers`](Self::layers). `None` for a model that was opened as it is: nobody
    /// knows before a change is wished for.
    #[must_use]
    pub fn known_offers(&self) -> Option<Vec<LayerOffer>> {
        self.controls.changeable().map(|changeable| self.offers_of(&changeable))
    }

    /// The same; where it is not known it is found out now, which loads an edited model and runs it some ten times.
    ///
    /// # Errors
    /// [`EngineError`] when the engine cannot run anything, or this was cancelled.
    pub fn offers(&self, engine: &Engine) -> Result<Vec<LayerOffer>, EngineError> {
        Ok(self.offers_of(&self.changeable(engine)?))
    }

    fn offers_of(&self, changeable: &Changeable) -> Vec<LayerOffer> {
        (0..self.layers.len()).map(|layer| self.offer_of(changeable, layer)).collect()
    }

    fn offer_of(&self, changeable: &Changeable, layer: usize) -> LayerOffer {
        let controls = changeable.as_ref().map_err(Clone::clone).and_then(|proved| self.controls_of(proved, layer));
        let offer = |of: fn(&RouterControls) -> &Offer| match &controls {
            Ok((_, controls)) => of(controls).as_ref().map(|_| ()).map_err(ToString::to_string),
            Err(reason) => Err(reason.clone()),
        };
        LayerOffer { ban: offer(|router| &router.selection_bias), ranks: offer(|router| &router.rank_weights) }
    }

    /// The k of a run, where only an edit of the graph gives it: it is another than the graph's own.
    pub(super) fn edited_top_k(&self, top_k: Option<usize>) -> Option<usize> {
        let card = self.card.top_k.as_ref().filter(|card| card.input == TopKInput::Edited)?;
        top_k.filter(|&top_k| top_k != card.default)
    }

    /// The ranks of a layer that have a say with `top_k`, of how many that its router fills; `None` where those are all.
    pub(super) fn ranks_at(&self, layer: usize, top_k: Option<usize>) -> UsedRanks {
        let top_k = self.edited_top_k(top_k)?;
        let run = self.controls.running_all_ranks(self.layers.get(layer)?.router?)?.own_top_k?;
        (top_k < run).then_some((top_k, run))
    }

    /// The router of a layer, by its place in the report, and its controls; or why it has none, in a sentence.
    fn controls_of<'a>(&self, proved: &'a ProvedModel, layer: usize) -> Result<(usize, &'a RouterControls), String> {
        let router = self.layers.get(layer).and_then(|layer| layer.router);
        let found = router.and_then(|router| Some((router, proved.instrumented.routers.get(router)?)));
        found.ok_or_else(|| "No router that was found in the graph is the one of this layer.".to_owned())
    }

    /// Adds the inputs that make a change, in the session of `proved`, to those of an unchanged run with `top_k`.
    ///
    /// # Errors
    /// [`ChangeError`] for a change that this model cannot have.
    pub(super) fn add_change(
        &self,
        proved: &ProvedModel,
        inputs: &mut Vec<Tensor>,
        top_k: Option<usize>,
        change: &RoutingChange,
    ) -> Result<(), ChangeError> {
        for (layer, change) in change.layers() {
            let refused = |reason: String| ChangeError::Refused { layer: self.layer_name(layer), reason };
            self.check_experts_and_ranks(layer, change)?;
            let (router, controls) = self.controls_of(proved, layer).map_err(refused)?;
            for (asked, offer) in [
                (!change.banned.is_empty(), &controls.selection_bias),
                (!change.left_out.is_empty(), &controls.rank_weights),
            ] {
                if let (true, Err(obstacle)) = (asked, offer) {
                    return Err(refused(obstacle.to_string()));
                }
            }
            self.check_what_is_left(layer, controls, top_k, change)?;
            proved.add_change(inputs, router, change).map_err(|obstacle| refused(obstacle.to_string()))?;
        }
        Ok(())
    }

    fn layer_name(&self, layer: usize) -> String {
        self.layers.get(layer).map_or_else(|| (layer + 1).to_string(), |layer| layer.card.name.clone())
    }

    fn check_experts_and_ranks(&self, layer: usize, change: &LayerChange) -> Result<(), ChangeError> {
        let count = self.layers.len();
        let shown = self.layers.get(layer).ok_or(ChangeError::Layer { layer: (layer + 1).to_string(), count })?;
        let num_experts = shown.card.num_experts;
        match change.banned.iter().find(|expert| expert.0 as usize >= num_experts) {
            Some(expert) => Err(ChangeError::Expert { layer: self.layer_name(layer), expert: expert.0, num_experts }),
            None => Ok(()),
        }
    }

    /// Without an expert or a rank left, the rule would choose what is banned, or divide by nothing.
    fn check_what_is_left(
        &self,
        layer: usize,
        controls: &RouterControls,
        top_k: Option<usize>,
        change: &LayerChange,
    ) -> Result<(), ChangeError> {
        // Where k is lowered by leaving out ranks, the router chooses as many experts as before.
        let follows = matches!(controls.top_k, Ok(_) | Err(Obstacle::OwnInput { .. }));
        let chosen = top_k.filter(|_| follows).or(controls.own_top_k).unwrap_or(1);
        let used = top_k.map_or(chosen, |top_k| top_k.min(chosen));
        let name = || self.layer_name(layer);
        let left = self.layers.get(layer).map_or(0, |layer| layer.card.num_experts).saturating_sub(change.banned.len());
        if !change.banned.is_empty() && left < chosen {
            return Err(ChangeError::TooFew { layer: name(), left, top_k: chosen });
        }
        if let Some(&rank) = change.left_out.iter().find(|&&rank| rank >= used) {
            return Err(ChangeError::Rank { layer: name(), rank, ranks: used });
        }
        if change.left_out.len() >= used {
            return Err(ChangeError::NoRank { layer: name() });
        }
        Ok(())
    }
}

/// The k of an edited model that can be given a k in `range`; or why there is nothing to set.
pub(super) fn top_k_card(
    proved: &ProvedModel,
    range: Result<Option<RangeInclusive<usize>>, Obstacle>,
) -> Result<TopKCard, String> {
    let range = range.map_err(|obstacle| obstacle.to_string())?;
    let own = common_top_k(&proved.instrumented.routers)?;
    let several = range.zip(own).filter(|(range, _)| range.end() > range.start());
    let (range, default) = several.ok_or_else(|| {
        let obstacle = proved.instrumented.routers.iter().find_map(|router| router.top_k.clone().err());
        obstacle.unwrap_or(Obstacle::OutOfRange { most: 1 }).to_string()
    })?;
    Ok(TopKCard { input: TopKInput::Edited, min: *range.start(), max: *range.end(), default })
}

/// The k that ONNX Runtime's MoE operators can be given; with other routers beside them there is none for all.
fn operator_range(report: &RouterReport) -> Result<Option<RangeInclusive<usize>>, Obstacle> {
    let of_operators = report.routers.iter().all(|router| router.experts.form == ExpertForm::Operator);
    let most = report.routers.iter().map(|router| router.num_experts).min();
    if of_operators { Ok(most.map(|most| 1..=most)) } else { Err(Obstacle::Operator) }
}

/// The k that all routers with a k have.
fn common_top_k(routers: &[RouterControls]) -> Result<Option<usize>, String> {
    let own: BTreeSet<usize> = routers.iter().filter_map(|router| router.own_top_k).collect();
    match own.first().zip(own.last()) {
        Some((least, most)) if least != most => Err(format!(
            "Its routers take different numbers of experts, {least} to {most}; one number cannot be all of them."
        )),
        same => Ok(same.map(|(least, _)| *least)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(own_top_k: Option<usize>) -> RouterControls {
        let no = || Err(Obstacle::NotPlanned);
        RouterControls {
            top_k: no(),
            selection_bias: no(),
            rank_weights: no(),
            own_top_k,
            expert_ids: None,
            combine_weights: None,
        }
    }

    #[test]
    fn one_k_stands_for_routers_that_have_the_same() {
        let common = |own: &[Option<usize>]| common_top_k(&own.iter().map(|&own| router(own)).collect::<Vec<_>>());
        assert_eq!(common(&[Some(2), None, Some(2)]), Ok(Some(2)));
        assert_eq!(common(&[None]), Ok(None));
        assert!(common(&[Some(1), Some(3)]).unwrap_err().contains("1 to 3"));
    }
}
