//! What the routers of a model did with one image. Shapes are checked once, here; everything after can index freely.

use super::{ExpertIdx, PatchIdx, RoutingError, TopK};

/// The routing of one image: one entry for each MoE layer, in the order in which the model runs them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RoutingTrace {
    /// One entry per MoE layer.
    pub layers: Vec<LayerRouting>,
}

/// What one router did with the T tokens of one image.
///
/// Invariant: `gate_probs` has T × E values, `experts` and `weights` T × k, and every chosen expert is below E.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRouting {
    name: String,
    num_experts: usize,
    top_k: TopK,
    gate_probs: Vec<f32>,
    experts: Vec<ExpertIdx>,
    weights: Vec<f32>,
}

impl LayerRouting {
    /// Checks and takes what a router gave: `gate_probs` [T, E], `expert_ids` and `combine_weights` [T, k], row-major,
    /// experts in rank order (the best first). T is `gate_probs.len() / num_experts`.
    ///
    /// # Errors
    /// [`RoutingError`] when `top_k` exceeds the number of experts, a length does not fit or a chosen expert does not
    /// exist. Values that are not finite are kept as they are: they are what the model gave, and the measures count them.
    pub fn new(
        name: impl Into<String>,
        num_experts: usize,
        top_k: TopK,
        gate_probs: Vec<f32>,
        expert_ids: &[i64],
        combine_weights: Vec<f32>,
    ) -> Result<Self, RoutingError> {
        let name = name.into();
        let top_k = TopK::new(top_k.get(), num_experts)?;
        let tokens = gate_probs.len() / num_experts;
        let length = |tensor, found: usize, expected: usize| {
            if found == expected {
                Ok(())
            } else {
                Err(RoutingError::Length { layer: name.clone(), tensor, found, expected })
            }
        };
        length("gate_probs", gate_probs.len(), tokens * num_experts)?;
        length("expert_ids", expert_ids.len(), tokens * top_k.get())?;
        length("combine_weights", combine_weights.len(), tokens * top_k.get())?;
        let experts = expert_ids
            .iter()
            .map(|&id| match u32::try_from(id) {
                Ok(expert) if (expert as usize) < num_experts => Ok(ExpertIdx(expert)),
                _ => Err(RoutingError::Expert { layer: name.clone(), expert: id, num_experts }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, num_experts, top_k, gate_probs, experts, weights: combine_weights })
    }

    /// The layer's name, as the model card gives it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// E, the number of experts.
    #[must_use]
    pub fn num_experts(&self) -> usize {
        self.num_experts
    }

    /// k, how many experts handled each token.
    #[must_use]
    pub fn top_k(&self) -> usize {
        self.top_k.get()
    }

    /// T, the number of tokens.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.experts.len() / self.top_k.get()
    }

    /// Gate probabilities [T, E]: the full softmax, before anything was kept or dropped.
    #[must_use]
    pub fn gate_probs(&self) -> &[f32] {
        &self.gate_probs
    }

    /// Chosen experts [T, k], the best first.
    #[must_use]
    pub fn experts(&self) -> &[ExpertIdx] {
        &self.experts
    }

    /// Combine weights [T, k], as the model applied them.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The gate probabilities `[E]` of one patch.
    #[must_use]
    pub fn gate_probs_of(&self, patch: PatchIdx) -> &[f32] {
        &self.gate_probs[patch.0 * self.num_experts..][..self.num_experts]
    }

    /// The experts `[k]` of one patch, the best first.
    #[must_use]
    pub fn experts_of(&self, patch: PatchIdx) -> &[ExpertIdx] {
        &self.experts[patch.0 * self.top_k()..][..self.top_k()]
    }

    /// The combine weights `[k]` of one patch, in the order of [`experts_of`](Self::experts_of).
    #[must_use]
    pub fn weights_of(&self, patch: PatchIdx) -> &[f32] {
        &self.weights[patch.0 * self.top_k()..][..self.top_k()]
    }
}
