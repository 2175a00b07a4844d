//! What is on screen: the result that is shown, the same image at other values of top-k, and how they differ.
//! Comparisons are computed when a result arrives, so that a panel only reads.

use crate::analysis::{Analysis, Outcome, OutcomeId, compared_top_ks};
use crate::render::{LayerPalette, busiest_experts};
use crate::routing::{LayerIdx, RoutingComparison, compare};

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

/// How the experts of one layer are coloured and ordered.
#[derive(Clone, Debug, Default)]
pub struct LayerUsage {
    /// Their colours.
    pub palette: LayerPalette,
    /// Where there are too many experts for a colour each: those with any load, the busiest first. Empty otherwise.
    pub order: Vec<u32>,
}

/// The results on screen.
#[derive(Debug, Default)]
pub struct Results {
    shown: Option<Outcome>,
    usage: Vec<LayerUsage>,
    multiples: Vec<Multiple>,
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

    /// The same image at other values of top-k, in ascending order.
    #[must_use]
    pub fn multiples(&self) -> &[Multiple] {
        &self.multiples
    }

    /// Shows a result. Multiples of another image or model go, and those that only dragging the slider brought.
    pub fn show(&mut self, outcome: Outcome) {
        let compared = outcome.model.card.top_k.as_ref().map(|range| compared_top_ks(range.max)).unwrap_or_default();
        self.multiples
            .retain(|multiple| same_subject(&multiple.outcome, &outcome) && compared.contains(&multiple.top_k));
        self.usage = usage(&outcome.analysis);
        self.shown = Some(outcome.clone());
        for multiple in &mut self.multiples {
            multiple.changed = changed_by_layer(&outcome, &multiple.outcome);
        }
        self.compare(outcome);
    }

    /// Takes a result into the row of multiples, if it is of the image and model that are shown.
    pub fn compare(&mut self, outcome: Outcome) {
        let (Some(shown), Some(top_k)) = (&self.shown, outcome.analysis.top_k) else { return };
        if !same_subject(shown, &outcome) {
            return;
        }
        let changed = changed_by_layer(shown, &outcome);
        self.multiples.retain(|multiple| multiple.top_k != top_k);
        self.multiples.push(Multiple { top_k, outcome, changed });
        self.multiples.sort_by_key(|multiple| multiple.top_k);
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
    let of_layer = |load: &[u64]| LayerUsage {
        palette: LayerPalette::of(load),
        order: if load.len() > LayerPalette::ALL_COLORED { busiest_experts(load, load.len()) } else { Vec::new() },
    };
    analysis.layers.iter().map(|stats| of_layer(&stats.balance.load)).collect()
}

fn same_subject(a: &Outcome, b: &Outcome) -> bool {
    a.image == b.image && a.model.version == b.model.version && a.model.execution == b.model.execution
}

fn changed_by_layer(a: &Outcome, b: &Outcome) -> Vec<Option<RoutingComparison>> {
    let (a, b) = (&a.analysis.trace.layers, &b.analysis.trace.layers);
    a.iter().zip(b).map(|(a, b)| compare(a, b)).collect()
}
