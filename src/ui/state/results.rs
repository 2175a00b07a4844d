//! What is on screen: the result that is shown, the same image at other values of top-k and without a change of the
//! routing, and how they differ.
//! Comparisons are computed when a result arrives, so that a panel only reads.

use super::{AppState, Outline, OverlayKind};
use crate::analysis::{Analysis, Outcome, OutcomeId, compared_top_ks};
use crate::render::{LayerPalette, busiest_experts};
use crate::routing::{LayerIdx, LayerRouting, RoutingComparison, compare, softmax};

/// The same image at another top-k.
#[derive(Clone, Debug)]
pub struct Multiple {
    /// Experts per token of that run.
    pub top_k: usize,
    /// Its result.
    pub outcome: Outcome,
    /// For each layer, how its routing differs from the shown result's; `None` where they cannot be compared.
    pub changed: Vec<Option<RoutingComparison>>,
}

/// What the model does by itself with the image that is shown changed, at the same top-k.
#[derive(Clone, Debug)]
pub struct Unchanged {
    /// The result without the change.
    pub outcome: Outcome,
    /// For each layer, how the shown result's routing differs from it; `None` where they cannot be compared.
    pub changed: Vec<Option<RoutingComparison>>,
    /// What is left of the probability of its best class in the shown result.
    pub best_kept: f32,
}

/// How the experts of one layer are coloured and ordered.
#[derive(Clone, Debug, Default)]
pub struct LayerUsage {
    /// Their colours.
    pub palette: LayerPalette,
    /// Where there are too many experts for a colour each: those with any load, the busiest first. Empty otherwise.
    pub order: Vec<u32>,
    /// What the heatmap can show of it.
    pub overlays: Vec<OverlayKind>,
}

/// The results on screen.
#[derive(Debug, Default)]
pub struct Results {
    shown: Option<Outcome>,
    usage: Vec<LayerUsage>,
    outline: Outline,
    multiples: Vec<Multiple>,
    unchanged: Option<Unchanged>,
}

impl Results {
    /// The result that the big picture, the charts and the predictions show.
    #[must_use]
    pub fn shown(&self) -> Option<&Outcome> {
        self.shown.as_ref()
    }

    /// How the experts of a layer of the shown result are coloured and ordered.
    #[must_use]
    pub fn usage(&self, layer: LayerIdx) -> Option<&LayerUsage> {
        self.usage.get(layer.0)
    }

    /// How the layers of the shown result belong together.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The same image at other values of top-k, in ascending order.
    #[must_use]
    pub fn multiples(&self) -> &[Multiple] {
        &self.multiples
    }

    /// Whether one of them belongs to another change of the routing than the shown result, so that it is about to be
    /// replaced.
    #[must_use]
    pub fn is_stale(&self, multiple: &Multiple) -> bool {
        self.shown.as_ref().is_some_and(|shown| !same_change(shown, &multiple.outcome))
    }

    /// What the model does by itself, where the shown result is of a changed routing.
    #[must_use]
    pub fn unchanged(&self) -> Option<&Unchanged> {
        self.unchanged.as_ref()
    }

    /// Shows a result. Multiples of another image or model go, and those that only dragging the slider brought; those of
    /// another change stay until [`drop_stale`](Self::drop_stale), so that the picture keeps its place.
    pub fn show(&mut self, outcome: Outcome) {
        let compared = outcome.model.card.top_k.as_ref().map(|range| compared_top_ks(range.max)).unwrap_or_default();
        self.multiples
            .retain(|multiple| same_subject(&multiple.outcome, &outcome) && compared.contains(&multiple.top_k));
        self.usage = usage(&outcome.analysis);
        self.outline = Outline::of(&outcome.analysis, &outcome.model);
        let before = self.shown.replace(outcome.clone());
        for multiple in &mut self.multiples {
            multiple.changed = changed_by_layer(&outcome, &multiple.outcome);
        }
        let unchanged = self.unchanged.take().map(|unchanged| unchanged.outcome);
        for candidate in [unchanged, before].into_iter().flatten() {
            self.take_unchanged(&candidate);
        }
        self.compare(outcome);
    }

    /// Takes a result into the row of multiples, if it is of the image, the model and the change that are shown; and what
    /// the model does by itself as what a change is compared with.
    pub fn compare(&mut self, outcome: Outcome) {
        self.take_unchanged(&outcome);
        let (Some(shown), Some(top_k)) = (&self.shown, outcome.analysis.top_k) else { return };
        if !same_subject(shown, &outcome) || !same_change(shown, &outcome) {
            return;
        }
        let changed = changed_by_layer(shown, &outcome);
        self.multiples.retain(|multiple| multiple.top_k != top_k);
        self.multiples.push(Multiple { top_k, outcome, changed });
        self.multiples.sort_by_key(|multiple| multiple.top_k);
    }

    fn take_unchanged(&mut self, outcome: &Outcome) {
        let Some(shown) = &self.shown else { return };
        let (of, unchanged) = (&shown.analysis, &outcome.analysis);
        if same_subject(shown, outcome)
            && of.top_k == unchanged.top_k
            && !of.change.is_none()
            && unchanged.change.is_none()
        {
            let changed = changed_by_layer(outcome, shown);
            let best = unchanged.predictions.first().map(|best| best.index);
            let best_kept = best.and_then(|best| softmax(&of.logits).get(best).copied()).unwrap_or(0.0);
            self.unchanged = Some(Unchanged { outcome: outcome.clone(), changed, best_kept });
        }
    }

    /// Forgets multiples of another change: nothing will replace them any more.
    pub fn drop_stale(&mut self) {
        let Some(shown) = &self.shown else { return };
        self.multiples.retain(|multiple| same_change(shown, &multiple.outcome));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Every result that the screen may draw.
    pub fn ids(&self) -> impl Iterator<Item = OutcomeId> {
        self.shown.iter().chain(self.multiples.iter().map(|multiple| &multiple.outcome)).map(|outcome| outcome.id)
    }
}

fn usage(analysis: &Analysis) -> Vec<LayerUsage> {
    let of_layer = |(layer, load): (&LayerRouting, &[u64])| LayerUsage {
        palette: LayerPalette::of(load),
        order: if load.len() > LayerPalette::ALL_COLORED { busiest_experts(load, load.len()) } else { Vec::new() },
        overlays: OverlayKind::ALL.into_iter().filter(|overlay| overlay.is_of(layer)).collect(),
    };
    let loads = analysis.layers.iter().map(|stats| stats.balance.load.as_slice());
    analysis.trace.layers.iter().zip(loads).map(of_layer).collect()
}

fn same_subject(a: &Outcome, b: &Outcome) -> bool {
    a.image == b.image && a.model.version == b.model.version && a.model.execution == b.model.execution
}

fn same_change(a: &Outcome, b: &Outcome) -> bool {
    a.analysis.change == b.analysis.change
}

fn changed_by_layer(a: &Outcome, b: &Outcome) -> Vec<Option<RoutingComparison>> {
    let (a, b) = (&a.analysis.trace.layers, &b.analysis.trace.layers);
    a.iter().zip(b).map(|(a, b)| compare(a, b)).collect()
}

impl AppState {
    pub(super) fn analysed(&mut self, outcome: Outcome) {
        if !self.is_wanted(&outcome) {
            return self.results.compare(outcome);
        }
        let best = outcome.analysis.predictions.first().filter(|_| outcome.analysis.change.is_none()).cloned();
        if let (Some(entry), Some(best)) = (self.images.get_mut(outcome.image), best) {
            entry.best = Some((best.label, best.probability));
        }
        self.point_out_oddities(&outcome);
        if self.results.shown().is_none() {
            // Early layers follow colours and edges, late ones mix the whole image: the middle explains itself best.
            self.view.layer.0 = self.first_layer.unwrap_or(outcome.analysis.trace.layers.len() / 2);
        }
        self.results.show(outcome);
        self.clamp_view();
    }

    /// Says it once for a model and a change: the panels count for each layer, and most images would repeat it.
    fn point_out_oddities(&mut self, outcome: &Outcome) {
        const MOST: usize = 4;
        let of = (outcome.model.version.clone(), outcome.analysis.change.clone());
        if self.odd.as_ref() == Some(&of) {
            return;
        }
        let mut oddities = outcome.analysis.oddities(&outcome.model);
        if oddities.is_empty() {
            return;
        }
        let more = oddities.len().saturating_sub(MOST);
        oddities.truncate(MOST);
        oddities.extend((more > 0).then(|| format!("and {more} more")));
        self.odd = Some(of);
        self.notify("The model gives values that cannot be", oddities.join(". "));
    }

    fn is_wanted(&self, outcome: &Outcome) -> bool {
        let current = self.images.current().map(|entry| entry.id);
        Some(outcome.image) == current
            && Some(&outcome.model.path) == self.model.wanted.as_ref()
            && outcome.model.execution == self.execution_of(&outcome.model.path)
            && outcome.analysis.top_k == self.wanted_top_k()
            && outcome.analysis.change == self.changes.wanted
    }
}
