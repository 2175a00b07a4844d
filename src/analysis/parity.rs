//! One image through one model twice, on the CPU and on something else: what differs?
//!
//! Two ways to compute are never equal to the last bit. Where a patch's k-th and next gates are closer than the rounding,
//! it gets another expert, and everything after that is computed by other weights. So the patches that changed are told
//! with their margin: a flip at a margin of 10⁻⁷ is rounding, one at 0.1 is a fault.

use super::Analysis;
use crate::routing::{ExpertIdx, LayerRouting, PatchIdx, margin};
use serde::Serialize;

/// How a second result differs from the first, the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parity {
    /// One entry for each MoE layer, in the model's order.
    pub layers: Vec<LayerParity>,
    /// Largest absolute difference of a class logit; infinite where only one of the two is a number.
    pub max_logit_difference: f32,
    /// Whether the most probable class is the same.
    pub same_best_class: bool,
}

/// How one layer's routing differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerParity {
    /// The layer's name.
    pub name: String,
    /// T, the number of patches.
    pub num_patches: usize,
    /// The patches whose set of experts changed, the smallest margin first.
    pub flips: Vec<Flip>,
    /// The patches by margin, those of the smallest first.
    pub by_margin: Vec<MarginBin>,
    /// Largest absolute difference of a gate probability; infinite where only one of the two is a number.
    pub max_gate_difference: f32,
}

/// A patch whose experts changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// Which one.
    pub patch: PatchIdx,
    /// How far the reference's last chosen expert was ahead of the next, in probability; NaN without finite gates.
    pub margin: f32,
    /// The reference's experts, rising.
    pub from: Vec<ExpertIdx>,
    /// The other's experts, rising.
    pub to: Vec<ExpertIdx>,
}

/// The patches of one range of margins: from the bound of the bin before up to, not including, its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MarginBin {
    /// Upper bound; infinite (null in JSON) for the last.
    pub below: f32,
    /// Number of patches.
    pub patches: usize,
    /// Of those, whose experts changed.
    pub flipped: usize,
}

/// Upper bounds of the bins; a margin is at most 1. Patches without finite gates are in none.
const MARGIN_BOUNDS: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, f32::INFINITY];

/// Why two results cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the two results are not of the same model and settings: {what} is {reference} in the first and {other} in the second"
)]
pub struct ParityError {
    what: String,
    reference: usize,
    other: usize,
}

impl Parity {
    /// Compares `other` with `reference`.
    ///
    /// # Errors
    /// When the numbers of layers, patches, experts, chosen experts or classes are not the same.
    pub fn of(reference: &Analysis, other: &Analysis) -> Result<Self, ParityError> {
        let (layers, other_layers) = (&reference.trace.layers, &other.trace.layers);
        same("the number of MoE layers", layers.len(), other_layers.len())?;
        same("the number of classes", reference.logits.len(), other.logits.len())?;
        let layers = layers.iter().zip(other_layers).map(|(a, b)| LayerParity::of(a, b)).collect::<Result<_, _>>()?;
        let best = |analysis: &Analysis| analysis.predictions.first().map(|prediction| prediction.index);
        Ok(Self {
            layers,
            max_logit_difference: max_difference(&reference.logits, &other.logits),
            same_best_class: best(reference) == best(other),
        })
    }

    /// Number of patches whose experts changed, over all layers.
    #[must_use]
    pub fn num_flips(&self) -> usize {
        self.layers.iter().map(|layer| layer.flips.len()).sum()
    }

    /// The largest margin at which a patch changed its experts; `None` without such a patch. Patches of later layers are
    /// no longer fed the same, so theirs may be large although only rounding differs.
    #[must_use]
    pub fn largest_flipped_margin(&self) -> Option<f32> {
        self.layers.iter().flat_map(|layer| &layer.flips).map(|flip| flip.margin).max_by(f32::total_cmp)
    }
}

impl LayerParity {
    /// Compares two routings of one layer.
    fn of(reference: &LayerRouting, other: &LayerRouting) -> Result<Self, ParityError> {
        let name = reference.name();
        same(&format!("the number of patches of {name}"), reference.num_tokens(), other.num_tokens())?;
        same(&format!("the number of experts of {name}"), reference.num_experts(), other.num_experts())?;
        same(&format!("top-k of {name}"), reference.top_k(), other.top_k())?;
        let mut layer = Self {
            name: name.to_owned(),
            num_patches: reference.num_tokens(),
            flips: Vec::new(),
            by_margin: MARGIN_BOUNDS.map(|below| MarginBin { below, patches: 0, flipped: 0 }).into(),
            max_gate_difference: max_difference(reference.gate_probs(), other.gate_probs()),
        };
        for patch in (0..reference.num_tokens()).map(PatchIdx) {
            layer.add(patch, margin(reference.gate_probs_of(patch), reference.top_k()), reference, other);
        }
        layer.flips.sort_by(|a, b| a.margin.total_cmp(&b.margin));
        Ok(layer)
    }

    fn add(&mut self, patch: PatchIdx, margin: f32, reference: &LayerRouting, other: &LayerRouting) {
        let (from, to) = (rising(reference.experts_of(patch)), rising(other.experts_of(patch)));
        let flipped = from != to;
        if let Some(bin) = self.by_margin.iter_mut().find(|bin| margin < bin.below) {
            bin.patches += 1;
            bin.flipped += usize::from(flipped);
        }
        if flipped {
            self.flips.push(Flip { patch, margin, from, to });
        }
    }
}

/// The comparisons of several images taken together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParitySum {
    /// Number of images.
    pub images: usize,
    /// Of those, whose most probable class changed.
    pub other_best_class: usize,
    /// One entry for each MoE layer, in the model's order.
    pub layers: Vec<LayerSum>,
    /// Largest of [`Parity::max_logit_difference`].
    pub max_logit_difference: f32,
}

/// One layer of a [`ParitySum`].
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSum {
    /// The layer's name.
    pub name: String,
    /// Patches of all images.
    pub patches: usize,
    /// Of those, whose set of experts changed.
    pub flipped: usize,
    /// The patches by margin, those of the smallest first.
    pub by_margin: Vec<MarginBin>,
    /// Largest of [`LayerParity::max_gate_difference`].
    pub max_gate_difference: f32,
}

impl ParitySum {
    /// Adds one more image of the same model.
    pub fn add(&mut self, parity: &Parity) {
        self.images += 1;
        self.other_best_class += usize::from(!parity.same_best_class);
        self.max_logit_difference = self.max_logit_difference.max(parity.max_logit_difference);
        if self.layers.is_empty() {
            self.layers = parity.layers.iter().map(LayerSum::empty).collect();
        }
        self.layers.iter_mut().zip(&parity.layers).for_each(|(sum, layer)| sum.add(layer));
    }

    /// Number of patches, and of those whose experts changed, over all layers and images.
    #[must_use]
    pub fn flipped_of(&self) -> (usize, usize) {
        let sum = |of: fn(&LayerSum) -> usize| self.layers.iter().map(of).sum();
        (sum(|layer| layer.flipped), sum(|layer| layer.patches))
    }
}

impl LayerSum {
    fn empty(layer: &LayerParity) -> Self {
        let bins = layer.by_margin.iter().map(|bin| MarginBin { below: bin.below, patches: 0, flipped: 0 });
        Self { name: layer.name.clone(), patches: 0, flipped: 0, by_margin: bins.collect(), max_gate_difference: 0.0 }
    }

    fn add(&mut self, layer: &LayerParity) {
        self.patches += layer.num_patches;
        self.flipped += layer.flips.len();
        self.max_gate_difference = self.max_gate_difference.max(layer.max_gate_difference);
        for (sum, bin) in self.by_margin.iter_mut().zip(&layer.by_margin) {
            sum.patches += bin.patches;
            sum.flipped += bin.flipped;
        }
    }
}

fn same(what: &str, reference: usize, other: usize) -> Result<(), ParityError> {
    if reference == other { Ok(()) } else { Err(ParityError { what: what.to_owned(), reference, other }) }
}

fn rising(experts: &[ExpertIdx]) -> Vec<ExpertIdx> {
    let mut experts = experts.to_vec();
    experts.sort_unstable();
    experts
}

/// Largest absolute difference of two slices of the same length; equal infinities and two NaN do not differ.
fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    let difference = |(&a, &b): (&f32, &f32)| match (a - b).abs() {
        _ if a == b || a.is_nan() && b.is_nan() => 0.0,
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference,
    };
    a.iter().zip(b).map(difference).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TopK;

    /// Three patches, three experts, k = 1.
    fn layer(gates: [f32; 9], experts: [i64; 3]) -> LayerRouting {
        let top_k = TopK::new(1, 3).unwrap();
        LayerRouting::new("block 1", 3, top_k, gates.to_vec(), &experts, vec![1.0; 3]).unwrap()
    }

    const GATES: [f32; 9] = [0.5, 0.25, 0.25, 0.375, 0.370, 0.255, 0.1, 0.1, 0.8];

    #[test]
    fn flips_are_told_with_the_margin_of_the_reference() {
        let mut gates = GATES;
        (gates[3], gates[4]) = (0.370, 0.375);
        let found = LayerParity::of(&layer(GATES, [0, 0, 2]), &layer(gates, [0, 1, 2])).unwrap();
        let [flip] = &found.flips[..] else { panic!("{found:?}") };
        assert_eq!((flip.patch, &flip.from[..], &flip.to[..]), (PatchIdx(1), &[ExpertIdx(0)][..], &[ExpertIdx(1)][..]));
        assert!((flip.margin - 0.005).abs() < 1e-6 && (found.max_gate_difference - 0.005).abs() < 1e-6, "{found:?}");
        let bins: Vec<(usize, usize)> = found.by_margin.iter().map(|bin| (bin.patches, bin.flipped)).collect();
        assert_eq!(bins, [(0, 0), (0, 0), (0, 0), (0, 0), (1, 1), (0, 0), (2, 0)]);
    }

    #[test]
    fn several_images_are_summed_and_their_largest_differences_kept() {
        let of = |experts: [i64; 3], difference: f32, same_best_class: bool| Parity {
            layers: vec![LayerParity::of(&layer(GATES, [0, 0, 2]), &layer(GATES, experts)).unwrap()],
            max_logit_difference: difference,
            same_best_class,
        };
        let mut sum = ParitySum::default();
        for parity in [of([0, 1, 2], 0.5, true), of([1, 1, 2], 0.25, false), of([0, 0, 2], 0.0, true)] {
            sum.add(&parity);
        }
        assert_eq!((sum.images, sum.other_best_class, sum.max_logit_difference), (3, 1, 0.5));
        assert_eq!((sum.flipped_of(), sum.layers.len()), ((3, 9), 1));
        // The margins are 0.25, 0.005 and 0.7: two flips of the second patch, one of the first.
        let bins: Vec<(usize, usize)> = sum.layers[0].by_margin.iter().map(|bin| (bin.patches, bin.flipped)).collect();
        assert_eq!(bins, [(0, 0), (0, 0), (0, 0), (0, 0), (3, 2), (0, 0), (6, 1)]);
    }

    #[test]
    fn the_order_of_the_experts_is_no_flip() {
        let top_k = TopK::new(2, 2).unwrap();
        let two = |experts: &[i64]| LayerRouting::new("l", 2, top_k, vec![0.5; 2], experts, vec![0.5; 2]).unwrap();
        let found = LayerParity::of(&two(&[0, 1]), &two(&[1, 0])).unwrap();
        assert!(found.flips.is_empty() && found.max_gate_difference == 0.0, "{found:?}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let wider = LayerRouting::new("b", 4, TopK::new(1, 4).unwrap(), vec![0.25; 12], &[0; 3], vec![1.0; 3]).unwrap();
        let text = LayerParity::of(&layer(GATES, [0; 3]), &wider).unwrap_err().to_string();
        assert!(text.contains("experts of block 1 is 3 in the first and 4 in the second"), "{text}");
    }

    #[test]
    fn differences_are_defined_for_every_number() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for (a, b, expected) in [
            (&[][..], &[][..], 0.0),
            (&[1.0, 2.0], &[1.5, 2.0], 0.5),
            (&[nan, infinity, -infinity], &[nan, infinity, -infinity], 0.0),
            (&[nan], &[0.0], infinity),
            (&[infinity], &[-infinity], infinity),
            (&[0.0], &[-0.0], 0.0),
        ] {
            assert_eq!(max_difference(a, b), expected, "{a:?} {b:?}");
        }
    }
}
