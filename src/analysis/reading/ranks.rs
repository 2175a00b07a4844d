//! Choices whose first, second and further ones lie in tensors of their own: side by side they are what other graphs have
//! in one.

use super::rows::Rows;
use super::{LayerRecipe, ReadingError, ShownTensor, misfit, output};
use crate::engine::{RunResult, Tensor};

/// The chosen experts, one column for each choice.
pub(super) fn expert_ids(recipe: &LayerRecipe, run: &RunResult) -> Result<Rows<i64>, ReadingError> {
    let shown = recipe.ranks.iter().map(|rank| rank.expert_ids.as_ref());
    let columns = columns(run, shown, |tensor| Rows::integers(tensor, None).values)?;
    side_by_side(recipe, &columns, None)
}

/// Their weights, of so many tokens.
pub(super) fn combine_weights(recipe: &LayerRecipe, run: &RunResult, tokens: usize) -> Result<Rows<f32>, ReadingError> {
    let shown = recipe.ranks.iter().map(|rank| rank.combine_weights.as_ref());
    let columns = columns(run, shown, |tensor| Rows::floats(tensor, None).values)?;
    side_by_side(recipe, &columns, Some(tokens))
}

/// The outputs of all ranks, with what they hold.
fn columns<'r, T>(
    run: &'r RunResult,
    shown: impl Iterator<Item = Option<&'r ShownTensor>>,
    values: impl Fn(&Tensor) -> Vec<T>,
) -> Result<Vec<(&'r Tensor, Vec<T>)>, ReadingError> {
    let column = |shown: Option<&ShownTensor>| {
        let tensor = output(run, shown.ok_or(ReadingError::Missing { what: "tensor of each choice" })?)?;
        Ok((tensor, values(tensor)))
    };
    shown.map(column).collect()
}

/// One row for each token, of which there are `tokens`, or as many as the first column has.
fn side_by_side<T: Copy>(
    recipe: &LayerRecipe,
    columns: &[(&Tensor, Vec<T>)],
    tokens: Option<usize>,
) -> Result<Rows<T>, ReadingError> {
    let tokens = tokens.or_else(|| columns.first().map(|(_, values)| values.len())).unwrap_or(0);
    if let Some((tensor, _)) = columns.iter().find(|(_, values)| values.len() != tokens) {
        return Err(misfit(tensor, format!("one of {} choices of {tokens} tokens", recipe.ranks.len())));
    }
    let values = (0..tokens).flat_map(|token| columns.iter().map(move |(_, values)| values[token])).collect();
    Ok(Rows { values, columns: recipe.ranks.len().max(1) })
}
