//! The two weights of every slot with every token, where experts have slots (Soft MoE).

use super::rows::Rows;
use super::{Dispatch, LayerRecipe, ReadingError, ShownTensor, misfit, output};
use crate::engine::{RunResult, Tensor};
use crate::model::routers::GatingRule;
use crate::routing::SlotWeights;
use std::ops::Range;

/// Both tables of all tokens of a run, in rows of E · S.
pub(super) struct Slots<'r> {
    recipe: &'r LayerRecipe,
    dispatch: Rows<f32>,
    combine: Rows<f32>,
}

/// The slots of a layer; none where it has none, or where the graph gives only one of their weights.
pub(super) fn of<'r>(recipe: &'r LayerRecipe, run: &RunResult) -> Result<Option<Slots<'r>>, ReadingError> {
    let (GatingRule::SoftMoe, Some(weights), Some(shown)) = (recipe.rule, &recipe.combine_weights, &recipe.dispatch)
    else {
        return Ok(None);
    };
    let combine = combine(recipe, run, weights)?;
    let dispatch = dispatch(output(run, &shown.tensor)?, shown, combine.columns)?;
    Ok(Some(Slots { recipe, dispatch, combine }))
}

impl Slots<'_> {
    /// Those of some tokens.
    pub fn of(&self, tokens: Range<usize>) -> Result<SlotWeights, ReadingError> {
        let LayerRecipe { name, num_experts, .. } = self.recipe;
        let rows = |table: &Rows<f32>| {
            let fits = tokens.end <= table.len();
            if fits { table.of(tokens.clone()).to_vec() } else { Vec::new() }
        };
        let per_expert = self.combine.columns / num_experts;
        Ok(SlotWeights::new(name, *num_experts, per_expert, rows(&self.dispatch), rows(&self.combine))?)
    }
}

/// How slots are mixed back into tokens, in rows of E · S; slots of an expert lie side by side.
pub(super) fn combine(recipe: &LayerRecipe, run: &RunResult, weights: &ShownTensor) -> Result<Rows<f32>, ReadingError> {
    let tensor = output(run, weights)?;
    // [.., tokens, E · slots] or [.., tokens, E, slots]
    let first = tensor.shape.len().saturating_sub(1 + weights.axis_from_end.unwrap_or(0));
    let columns: usize = tensor.shape[first..].iter().product();
    let misfits = || misfit(tensor, format!("slots of {} experts", recipe.num_experts));
    if columns == 0 || !columns.is_multiple_of(recipe.num_experts) {
        return Err(misfits());
    }
    Rows::floats(tensor, None).with_columns(columns).ok_or_else(misfits)
}

/// How tokens are mixed into slots, in rows of `num_slots`: whatever lies before and behind the axis of tokens, without the
/// images of a batch, counts slots.
fn dispatch(tensor: &Tensor, shown: &Dispatch<ShownTensor>, num_slots: usize) -> Result<Rows<f32>, ReadingError> {
    let misfits = || misfit(tensor, format!("{num_slots} slots"));
    let axis = tensor.shape.len().checked_sub(shown.tokens_from_end + 1).ok_or_else(misfits)?;
    let (tokens, behind) = (tensor.shape[axis], tensor.shape[axis + 1..].iter().product::<usize>());
    if behind == 0 || !num_slots.is_multiple_of(behind) || num_slots == 0 {
        return Err(misfits());
    }
    let (before, values) = (num_slots / behind, tensor.data.to_floats());
    let image = num_slots * tokens;
    if image == 0 || !values.len().is_multiple_of(image) {
        return Err(misfits());
    }
    let of_token = |values: &[f32], token: usize| -> Vec<f32> {
        let part = |before: usize| values[(before * tokens + token) * behind..][..behind].to_vec();
        (0..before).flat_map(part).collect()
    };
    let rows = values.chunks_exact(image).flat_map(|image| (0..tokens).flat_map(move |token| of_token(image, token)));
    Ok(Rows { values: rows.collect(), columns: num_slots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TensorData;

    fn read(shape: &[usize], tokens_from_end: usize, num_slots: usize) -> Result<Vec<f32>, String> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|at| at as f32).collect();
        let tensor = Tensor { name: "d".to_owned(), shape: shape.to_vec(), data: TensorData::F32(values.into()) };
        let shown = ShownTensor { output: "d".to_owned(), axis_from_end: None, dense: true, in_loop: false };
        let rows = dispatch(&tensor, &Dispatch { tensor: shown, tokens_from_end }, num_slots);
        rows.map(|rows| rows.values).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_come_first_wherever_they_lie() {
        let as_they_lie: Vec<f32> = (0..12).map(|at| at as f32).collect();
        // [tokens, slots], [images, tokens, slots] and [images, tokens, experts, slots]
        for (shape, from_end, slots) in [(&[3, 4][..], 1, 4), (&[2, 3, 2], 1, 2), (&[1, 3, 2, 2], 2, 4)] {
            assert_eq!(read(shape, from_end, slots).unwrap(), as_they_lie, "{shape:?}");
        }
        // [slots, tokens], of one image and of two; [experts, tokens, slots]
        assert_eq!(read(&[2, 3], 0, 2).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(read(&[2, 2, 2], 0, 2).unwrap(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(read(&[2, 2, 2], 1, 4).unwrap(), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn what_has_no_such_slots_is_refused() {
        for (shape, from_end, slots) in [(&[3, 4][..], 2, 4), (&[3, 4], 1, 6), (&[3, 0], 1, 4), (&[5, 3], 0, 2)] {
            let message = read(shape, from_end, slots).unwrap_err();
            assert!(message.contains("does not fit"), "{shape:?}: {message}");
        }
    }
}
