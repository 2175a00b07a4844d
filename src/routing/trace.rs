//! What the routers of a model did with one image. Shapes are checked once, here; everything after can index freely.

use super::{ExpertIdx, PatchIdx, RoutingError, SlotWeights, TopK};

/// The routing of one image: one entry for each MoE layer, in the order in which the model runs them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RoutingTrace {
    /// One entry per MoE layer.
    pub layers: Vec<LayerRouting>,
}

/// What one router did with the T tokens of one image.
///
/// Invariant: `gate_probs` has T × E values or none, `experts` and `weights` T × k, and every chosen expert is below E.
/// Where tokens have different numbers of experts, k is the largest one, and what a token does not use is filled with
/// [`ExpertIdx::NONE`] and a weight of 0, after its experts.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRouting {
    name: String,
    num_experts: usize,
    top_k: TopK,
    gate_probs: Vec<f32>,
    experts: Vec<ExpertIdx>,
    weights: Vec<f32>,
    slots: Option<SlotWeights>,
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
        Ok(Self { name, num_experts, top_k, gate_probs, experts, weights: combine_weights, slots: None })
    }

    /// Takes the experts of each token, `choices` `[T]`, the best first and as many as each token has. `gate_probs` is
    /// [T, E], or empty where the router has no probability for every expert (product keys) or there are too many.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_choices(
        name: impl Into<String>,
        num_experts: usize,
        gate_probs: Vec<f32>,
        choices: &[Vec<(ExpertIdx, f32)>],
    ) -> Result<Self, RoutingError> {
        let name = name.into();
        let most = choices.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let top_k = TopK::new(most, num_experts)?;
        let expected = choices.len() * num_experts;
        if !gate_probs.is_empty() && gate_probs.len() != expected {
            return Err(RoutingError::Length { layer: name, tensor: "gate_probs", found: gate_probs.len(), expected });
        }
        if let Some((expert, _)) = choices.iter().flatten().find(|(expert, _)| expert.0 as usize >= num_experts) {
            return Err(RoutingError::Expert { layer: name, expert: expert.0.into(), num_experts });
        }
        let unused = std::iter::repeat((ExpertIdx::NONE, 0.0));
        let rows = choices.iter().flat_map(|row| row.iter().copied().chain(unused.clone()).take(most));
        let (experts, weights) = rows.unzip();
        Ok(Self { name, num_experts, top_k, gate_probs, experts, weights, slots: None })
    }

    /// The same layer with the weights of its slots, where its experts have slots (Soft MoE): an expert's combine weight is
    /// the sum over its slots.
    ///
    /// # Errors
    /// [`RoutingError::Length`] when they are of another number of tokens.
    pub fn with_slots(self, slots: SlotWeights) -> Result<Self, RoutingError> {
        let (found, expected) = (slots.num_tokens(), self.num_tokens());
        if found != expected {
            return Err(RoutingError::Length { layer: self.name, tensor: "slots of tokens", found, expected });
        }
        Ok(Self { slots: Some(slots), ..self })
    }

    /// The routing of some tokens, in the order of `tokens`, each below [`num_tokens`](Self::num_tokens).
    #[must_use]
    pub fn of_tokens(&self, tokens: &[usize]) -> Self {
        let rows = |len: usize| tokens.iter().map(move |token| token * len..(token + 1) * len);
        let gates = if self.gate_probs.is_empty() { 0 } else { self.num_experts };
        Self {
            name: self.name.clone(),
            num_experts: self.num_experts,
            top_k: self.top_k,
            gate_probs: rows(gates).flat_map(|row| &self.gate_probs[row]).copied().collect(),
            experts: rows(self.top_k()).flat_map(|row| &self.experts[row]).copied().collect(),
            weights: rows(self.top_k()).flat_map(|row| &self.weights[row]).copied().collect(),
            slots: self.slots.as_ref().map(|slots| slots.of_tokens(tokens)),
        }
    }

    /// The same layer with only the first `ranks` experts of each token; with fewer ranks than that as it is.
    #[must_use]
    pub fn first_ranks(self, ranks: TopK) -> Self {
        if ranks >= self.top_k {
            return self;
        }
        let columns = self.top_k();
        let experts = self.experts.chunks_exact(columns).flat_map(|row| &row[..ranks.get()]).copied().collect();
        let weights = self.weights.chunks_exact(columns).flat_map(|row| &row[..ranks.get()]).copied().collect();
        Self { top_k: ranks, experts, weights, ..self }
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

    /// k, how many experts handled each token; the most of any token where that differs.
    #[must_use]
    pub fn top_k(&self) -> usize {
        self.top_k.get()
    }

    /// T, the number of tokens.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.experts.len() / self.top_k.get()
    }

    /// Whether every token has a gate probability for every expert.
    #[must_use]
    pub fn has_gate_probs(&self) -> bool {
        !self.gate_probs.is_empty() || self.num_tokens() == 0
    }

    /// Gate probabilities [T, E]: the full softmax, before anything was kept or dropped. Empty where there are none.
    #[must_use]
    pub fn gate_probs(&self) -> &[f32] {
        &self.gate_probs
    }

    /// Chosen experts [T, k], the best first, [`ExpertIdx::NONE`] after the last of a token that has fewer.
    #[must_use]
    pub fn experts(&self) -> &[ExpertIdx] {
        &self.experts
    }

    /// Combine weights [T, k], as the model applied them.
    #[must_use]
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The weights of the slots, where experts have slots and the graph gives them.
    #[must_use]
    pub fn slots(&self) -> Option<&SlotWeights> {
        self.slots.as_ref()
    }

    /// The gate probabilities `[E]` of one patch; empty where there are none.
    #[must_use]
    pub fn gate_probs_of(&self, patch: PatchIdx) -> &[f32] {
        let row = patch.0 * self.num_experts..(patch.0 + 1) * self.num_experts;
        if self.has_gate_probs() { &self.gate_probs[row] } else { &[] }
    }

    /// The experts of one patch, the best first: k of them, or fewer where patches have different numbers.
    #[must_use]
    pub fn experts_of(&self, patch: PatchIdx) -> &[ExpertIdx] {
        let row = &self.experts[patch.0 * self.top_k()..][..self.top_k()];
        let used = row.iter().position(|&expert| expert == ExpertIdx::NONE).unwrap_or(row.len());
        &row[..used]
    }

    /// The combine weights of one patch, in the order of [`experts_of`](Self::experts_of) and as many.
    #[must_use]
    pub fn weights_of(&self, patch: PatchIdx) -> &[f32] {
        &self.weights[patch.0 * self.top_k()..][..self.experts_of(patch).len()]
    }

    /// How many experts handled a patch: those whose combine weight is not exactly 0.
    #[must_use]
    pub fn num_serving(&self, patch: PatchIdx) -> usize {
        self.weights_of(patch).iter().filter(|&&weight| weight != 0.0).count()
    }

    /// Every choice of a token, with its combine weight: token by token, the best first.
    pub fn assignments(&self) -> impl Iterator<Item = (ExpertIdx, f32)> {
        let all = self.experts.iter().copied().zip(self.weights.iter().copied());
        all.filter(|&(expert, _)| expert != ExpertIdx::NONE)
    }

    /// All patches.
    pub fn patches(&self) -> impl Iterator<Item = PatchIdx> + use<> {
        (0..self.num_tokens()).map(PatchIdx)
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
