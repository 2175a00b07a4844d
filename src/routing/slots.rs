//! The slots of a Soft MoE layer: each expert has so many, and each is mixed of all tokens and mixed back into all of them.
//!
//! Puigcerver et al., From Sparse to Soft Mixtures of Experts (ICLR 2024).

use super::{ExpertIdx, PatchIdx, RoutingError};

/// A slot of one layer, counted from 0 over all experts: slot s of expert e is e · S + s, where every expert has S.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotIdx(pub usize);

/// One of a slot's two weights with every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotWeight {
    /// The token's share of what the slot's expert gets: over all tokens they sum to 1.
    Dispatch,
    /// The slot's share of what the token gets back: over all slots they sum to 1.
    Combine,
}

/// The weights of all slots of one layer with all of its tokens, as the model gave them.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotWeights {
    per_expert: usize,
    num_slots: usize,
    dispatch: Vec<f32>,
    combine: Vec<f32>,
    largest: Vec<[f32; 2]>,
}

impl SlotWeights {
    /// Takes both tables, [T, E · S] row-major, of `num_experts` experts; an expert's slots lie side by side.
    ///
    /// # Errors
    /// [`RoutingError::Length`] unless both have the same number of values, and those are whole rows.
    pub fn new(
        layer: &str,
        num_experts: usize,
        per_expert: usize,
        dispatch: Vec<f32>,
        combine: Vec<f32>,
    ) -> Result<Self, RoutingError> {
        let num_slots = num_experts * per_expert;
        let check = |tensor, found: usize, expected: usize| {
            let layer = layer.to_owned();
            if found == expected { Ok(()) } else { Err(RoutingError::Length { layer, tensor, found, expected }) }
        };
        let rows = combine.len().checked_div(num_slots).unwrap_or(0);
        check("combine", combine.len(), rows * num_slots)?;
        check("dispatch", dispatch.len(), combine.len())?;
        Ok(Self::of_tables(per_expert, num_slots, dispatch, combine))
    }

    fn of_tables(per_expert: usize, num_slots: usize, dispatch: Vec<f32>, combine: Vec<f32>) -> Self {
        let mut largest = vec![[0.0_f32; 2]; num_slots];
        for (at, table) in [&dispatch, &combine].into_iter().enumerate() {
            for (slot, &weight) in table.iter().enumerate().filter(|(_, weight)| weight.is_finite()) {
                let largest = &mut largest[slot % num_slots][at];
                *largest = largest.max(weight);
            }
        }
        Self { per_expert, num_slots, dispatch, combine, largest }
    }

    /// S, the slots of each expert.
    #[must_use]
    pub fn per_expert(&self) -> usize {
        self.per_expert
    }

    /// E · S.
    #[must_use]
    pub fn num_slots(&self) -> usize {
        self.num_slots
    }

    /// T.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.combine.len().checked_div(self.num_slots).unwrap_or(0)
    }

    /// The expert of a slot, and the slot's number among that expert's.
    #[must_use]
    pub fn place_of(&self, slot: SlotIdx) -> (ExpertIdx, usize) {
        let per_expert = self.per_expert.max(1);
        (ExpertIdx((slot.0 / per_expert) as u32), slot.0 % per_expert)
    }

    /// One of the tables, [T, E · S].
    #[must_use]
    pub fn table(&self, weight: SlotWeight) -> &[f32] {
        match weight {
            SlotWeight::Dispatch => &self.dispatch,
            SlotWeight::Combine => &self.combine,
        }
    }

    /// A patch's weights with all slots, `[E · S]`.
    #[must_use]
    pub fn of_patch(&self, weight: SlotWeight, patch: PatchIdx) -> &[f32] {
        &self.table(weight)[patch.0 * self.num_slots..][..self.num_slots]
    }

    /// The largest weight of a slot with any token; values that are not finite left out.
    #[must_use]
    pub fn largest(&self, weight: SlotWeight, slot: SlotIdx) -> f32 {
        let [dispatch, combine] = self.largest.get(slot.0).copied().unwrap_or_default();
        match weight {
            SlotWeight::Dispatch => dispatch,
            SlotWeight::Combine => combine,
        }
    }

    /// The weights of some tokens, in the order of `tokens`, each below [`num_tokens`](Self::num_tokens).
    pub(super) fn of_tokens(&self, tokens: &[usize]) -> Self {
        let rows = |table: &[f32]| {
            let row = |&token: &usize| &table[token * self.num_slots..(token + 1) * self.num_slots];
            tokens.iter().flat_map(row).copied().collect()
        };
        Self::of_tables(self.per_expert, self.num_slots, rows(&self.dispatch), rows(&self.combine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SlotWeight::{Combine, Dispatch};

    /// Three tokens, two experts with two slots each: the dispatch weight of token t and slot s is t + s / 10.
    fn slots() -> SlotWeights {
        let table = |sign: f32| (0..12).map(|at| sign * ((at / 4) as f32 + (at % 4) as f32 / 10.0)).collect();
        SlotWeights::new("layer", 2, 2, table(1.0), table(-1.0)).unwrap()
    }

    #[test]
    fn slots_lie_side_by_side() {
        let slots = slots();
        assert_eq!((slots.num_tokens(), slots.num_slots(), slots.per_expert()), (3, 4, 2));
        let places = [0, 1, 2, 3].map(|slot| slots.place_of(SlotIdx(slot)));
        assert_eq!(places, [(ExpertIdx(0), 0), (ExpertIdx(0), 1), (ExpertIdx(1), 0), (ExpertIdx(1), 1)]);
        assert_eq!(slots.of_patch(Dispatch, PatchIdx(1)), [1.0, 1.1, 1.2, 1.3]);
        assert_eq!(slots.largest(Dispatch, SlotIdx(3)), 2.3);
        assert_eq!(slots.largest(Combine, SlotIdx(3)), 0.0, "no scale begins above 0");
    }

    #[test]
    fn tokens_keep_their_rows() {
        let some = slots().of_tokens(&[1, 0]);
        assert_eq!(some.of_patch(Combine, PatchIdx(0)), [-1.0, -1.1, -1.2, -1.3]);
        assert_eq!((some.num_tokens(), some.largest(Dispatch, SlotIdx(3))), (2, 1.3));
    }

    #[test]
    fn tables_of_other_sizes_are_refused() {
        let refused = |dispatch: usize, combine: usize| {
            SlotWeights::new("layer", 2, 2, vec![0.0; dispatch], vec![0.0; combine]).unwrap_err().to_string()
        };
        assert!(refused(12, 8).contains("dispatch has 12 values, 8 were expected"));
        assert!(refused(9, 9).contains("combine has 9 values, 8 were expected"));
    }
}
