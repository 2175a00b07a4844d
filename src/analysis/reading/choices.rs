//! Which experts each token has, from the tensors of every kind of rule.

use super::rows::Rows;
use super::scores::score_row;
use super::{Choices, Kept, LayerRecipe, ReadingError, ShownTensor, TokenCount, misfit, output, ranks, rows_of, slots};
use crate::engine::{RunResult, Tensor};
use crate::model::routers::{GatingRule, ScoreFunction};
use crate::routing::{ExpertIdx, RoutingError, top_indices};
use std::ops::Range;

/// The choices of all tokens in their order.
pub(super) fn of(recipe: &LayerRecipe, run: &RunResult, tokens: TokenCount) -> Result<Vec<Choices>, ReadingError> {
    match (&recipe.expert_ids, &recipe.combine_weights) {
        (Some(ids), weights) if recipe.rule == GatingRule::ExpertChoice => {
            by_experts(recipe, run, ids, weights.as_ref())
        }
        (_, Some(weights)) if recipe.rule == GatingRule::SoftMoe => of_slots(recipe, run, weights),
        (Some(ids), weights) => {
            let tensor = output(run, ids)?;
            let ids = joined_heads(recipe, Rows::integers(tensor, ids.axis_from_end), tokens, tensor)?;
            by_tokens(recipe, run, &ids, weights.as_ref())
        }
        (None, weights) if has_ids(recipe) => {
            by_tokens(recipe, run, &ranks::expert_ids(recipe, run)?, weights.as_ref())
        }
        (None, Some(weights)) => dense(recipe, run, weights),
        (None, None) => again(recipe, run),
    }
}

/// Each token names its experts.
fn by_tokens(
    recipe: &LayerRecipe,
    run: &RunResult,
    ids: &Rows<i64>,
    weights: Option<&ShownTensor>,
) -> Result<Vec<Choices>, ReadingError> {
    let mut weighted = match weights {
        None if recipe.ranks.iter().any(|rank| rank.combine_weights.is_some()) => {
            ranks::combine_weights(recipe, run, ids.len())?
        }
        // A choice without a weight counts in full.
        None => Rows { values: vec![1.0; ids.values.len()], columns: ids.columns },
        Some(shown) => {
            let tensor = output(run, shown)?;
            let rows = Rows::floats(tensor, shown.axis_from_end);
            if shown.dense { picked(recipe, &rows, ids, tensor)? } else { as_many(rows, ids, tensor)? }
        }
    };
    if let Some(kept) = &recipe.kept {
        drop_unkept(recipe, run, kept, (ids, 0..ids.columns), &mut weighted)?;
    }
    for (rank, of_rank) in recipe.ranks.iter().enumerate().take(ids.columns) {
        if let Some(kept) = &of_rank.kept {
            drop_unkept(recipe, run, kept, (ids, rank..rank + 1), &mut weighted)?;
        }
    }
    let is_taken = |weight: f32| !matches!(recipe.rule, GatingRule::TopP | GatingRule::Threshold) || weight != 0.0;
    let choice = |(&id, &weight): (&i64, &f32)| Ok((expert(recipe, id)?, weight));
    let of_token = |(ids, weights): (&[i64], &[f32])| {
        let choices = ids.iter().zip(weights).filter(|&(_, &weight)| is_taken(weight)).map(choice);
        let mut choices = choices.collect::<Result<Choices, ReadingError>>()?;
        if recipe.rule == GatingRule::ProductKey {
            // Every head ranks its own; together their weights do.
            choices.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        }
        Ok(choices)
    };
    ids.iter().zip(weighted.iter()).map(of_token).collect()
}

/// Whether the chosen experts are tensors by their rank.
fn has_ids(recipe: &LayerRecipe) -> bool {
    recipe.ranks.iter().any(|rank| rank.expert_ids.is_some())
}

/// Takes the weight from choices whose expert had no room, as `kept` tells it of some ranks.
fn drop_unkept(
    recipe: &LayerRecipe,
    run: &RunResult,
    kept: &Kept<ShownTensor>,
    (ids, ranks): (&Rows<i64>, Range<usize>),
    weights: &mut Rows<f32>,
) -> Result<(), ReadingError> {
    let room = room(recipe, run, kept, [ids.len(), ranks.len()])?;
    for (token, ids) in ids.iter().enumerate() {
        for rank in ranks.clone() {
            let column = if kept.tensor.dense { expert(recipe, ids[rank])?.0 as usize } else { rank - ranks.start };
            if !room.row(token)[column] {
                weights.values[token * ids.len() + rank] = 0.0;
            }
        }
    }
    Ok(())
}

/// Whether there was room: a row for each of so many tokens, a column for each of their choices or for each expert.
fn room(
    recipe: &LayerRecipe,
    run: &RunResult,
    kept: &Kept<ShownTensor>,
    [tokens, choices]: [usize; 2],
) -> Result<Rows<bool>, ReadingError> {
    let tensor = output(run, &kept.tensor)?;
    let room = Rows::any(tensor, kept.tensor.axis_from_end, kept.places_from_end);
    let columns = if kept.tensor.dense { recipe.num_experts } else { choices };
    let room = room.with_columns(columns).filter(|room| room.len() == tokens);
    room.ok_or_else(|| misfit(tensor, format!("{choices} choices of {tokens} tokens")))
}

/// Heads that choose for the same token, side by side.
fn joined_heads(
    recipe: &LayerRecipe,
    ids: Rows<i64>,
    tokens: TokenCount,
    tensor: &Tensor,
) -> Result<Rows<i64>, ReadingError> {
    if recipe.rule != GatingRule::ProductKey {
        return Ok(ids);
    }
    // [.., tokens, heads, k], or [.., tokens, k] of a single head. A wrong number of tokens must not pass for more heads.
    let in_front = if tensor.shape.len() > 2 { tensor.shape[tensor.shape.len() - 2] } else { 1 };
    let fits = |&heads: &usize| {
        let per_image = tokens.per_image.map_or(ids.len() / heads.max(1), |tokens_of| tokens_of * tokens.batch);
        heads > 0 && per_image * heads == ids.len()
    };
    let heads = [in_front, 1].into_iter().find(fits);
    let heads = heads.ok_or_else(|| misfit(tensor, format!("{:?} tokens of an image", tokens.per_image)))?;
    let columns = ids.columns * heads;
    ids.with_columns(columns).ok_or_else(|| misfit(tensor, format!("{heads} heads")))
}

/// The weights of the chosen, where there is one for every expert.
fn picked(
    recipe: &LayerRecipe,
    dense: &Rows<f32>,
    ids: &Rows<i64>,
    tensor: &Tensor,
) -> Result<Rows<f32>, ReadingError> {
    if dense.columns != recipe.num_experts || dense.len() != ids.len() {
        return Err(misfit(tensor, format!("{} tokens of {} experts", ids.len(), recipe.num_experts)));
    }
    let weight = |row: usize, &id: &i64| Ok(dense.row(row)[expert(recipe, id)?.0 as usize]);
    let values = ids.iter().enumerate().flat_map(|(row, ids)| ids.iter().map(move |id| weight(row, id)));
    Ok(Rows { values: values.collect::<Result<_, ReadingError>>()?, columns: ids.columns })
}

/// One weight for each choice, whatever axes they have.
fn as_many(weights: Rows<f32>, ids: &Rows<i64>, tensor: &Tensor) -> Result<Rows<f32>, ReadingError> {
    if weights.values.len() != ids.values.len() {
        return Err(misfit(tensor, format!("{} choices of {} tokens", ids.columns, ids.len())));
    }
    Ok(Rows { values: weights.values, columns: ids.columns })
}

/// Every expert has a weight; those with none are not chosen.
fn dense(recipe: &LayerRecipe, run: &RunResult, weights: &ShownTensor) -> Result<Vec<Choices>, ReadingError> {
    let tensor = output(run, weights)?;
    let rows = Rows::floats(tensor, weights.axis_from_end);
    if rows.columns != recipe.num_experts {
        return Err(misfit(tensor, format!("a weight for each of {} experts", recipe.num_experts)));
    }
    Ok(rows.iter().map(heaviest_first).collect())
}

fn heaviest_first(weights: &[f32]) -> Choices {
    let order = top_indices(weights, weights.len()).into_iter();
    order.filter(|&expert| weights[expert] != 0.0).map(|at| (ExpertIdx(at as u32), weights[at])).collect()
}

/// Slots of experts, of which every token takes a share: an expert's weight is what its slots have together.
fn of_slots(recipe: &LayerRecipe, run: &RunResult, weights: &ShownTensor) -> Result<Vec<Choices>, ReadingError> {
    let rows = slots::combine(recipe, run, weights)?;
    let of_expert = rows.columns / recipe.num_experts;
    let shares = |row: &[f32]| row.chunks_exact(of_expert).map(|slots| slots.iter().sum()).collect::<Vec<f32>>();
    Ok(rows.iter().map(|row| heaviest_first(&shares(row))).collect())
}

/// Each expert names its tokens: `[.., E, C]`, tokens counted within whatever is in front of E.
fn by_experts(
    recipe: &LayerRecipe,
    run: &RunResult,
    ids: &ShownTensor,
    weights: Option<&ShownTensor>,
) -> Result<Vec<Choices>, ReadingError> {
    let tensor = output(run, ids)?;
    let ids = Rows::integers(tensor, ids.axis_from_end);
    let groups = ids.len() / recipe.num_experts;
    let gates = rows_of(run, recipe.gate_probs.as_ref().or(recipe.gate_logits.as_ref()))?;
    let total = gates.as_ref().map(Rows::len).ok_or(ReadingError::Missing { what: "gates of all tokens" })?;
    if groups == 0 || ids.len() % recipe.num_experts != 0 || total % groups != 0 {
        return Err(misfit(tensor, format!("tokens of each of {} experts", recipe.num_experts)));
    }
    let weights = match weights {
        None => None,
        Some(shown) => Some((Rows::floats(output(run, shown)?, shown.axis_from_end), shown.dense, output(run, shown)?)),
    };
    let in_group = total / groups;
    let mut choices = vec![Choices::new(); total];
    for (row, tokens) in ids.iter().enumerate() {
        let (group, expert) = (row / recipe.num_experts, row % recipe.num_experts);
        for (slot, &id) in tokens.iter().enumerate() {
            let of_group = usize::try_from(id).ok().filter(|&id| id < in_group);
            let token = of_group.map(|id| group * in_group + id);
            let token = token.ok_or_else(|| misfit(tensor, format!("tokens below {in_group}, not {id}")))?;
            let weight = match &weights {
                None => 1.0,
                Some((rows, true, _)) if rows.columns == recipe.num_experts && rows.len() == total => {
                    rows.row(token)[expert]
                }
                Some((rows, false, _)) if rows.values.len() == ids.values.len() => {
                    rows.values[row * ids.columns + slot]
                }
                Some((_, _, tensor)) => return Err(misfit(tensor, "the tokens that experts chose".to_owned())),
            };
            choices[token].push((ExpertIdx(expert as u32), weight));
        }
    }
    choices.iter_mut().for_each(|choices| choices.sort_by(|(_, a), (_, b)| b.total_cmp(a)));
    Ok(choices)
}

/// The choice worked out from the logits, or from the scores where there are no logits, where the graph does not have it
/// as a tensor.
fn again(recipe: &LayerRecipe, run: &RunResult) -> Result<Vec<Choices>, ReadingError> {
    let shown = recipe.gate_logits.as_ref().or(recipe.gate_probs.as_ref());
    let shown = shown.ok_or(ReadingError::Missing { what: "gate logits" })?;
    let tensor = output(run, shown)?;
    let rows = Rows::floats(tensor, shown.axis_from_end);
    if rows.columns != recipe.num_experts {
        return Err(misfit(tensor, format!("a score for each of {} experts", recipe.num_experts)));
    }
    let are_scores = recipe.gate_logits.is_none();
    rows.iter().map(|row| chosen(recipe, row, are_scores)).collect()
}

/// One token's choice by the recipe's rule, from its logits or, if they `are_scores`, from what the rule's function made
/// of them.
fn chosen(recipe: &LayerRecipe, row: &[f32], are_scores: bool) -> Result<Choices, ReadingError> {
    use GatingRule as Rule;
    let (function, renormalized) = match recipe.rule {
        Rule::Soft => (recipe.score, false),
        Rule::SoftmaxThenTopK => (ScoreFunction::Softmax, false),
        Rule::SoftmaxThenTopKRenormalized | Rule::TopKThenSoftmax => (ScoreFunction::Softmax, true),
        Rule::SigmoidThenTopK => (ScoreFunction::Sigmoid, false),
        Rule::SigmoidThenTopKRenormalized => (ScoreFunction::Sigmoid, true),
        Rule::SqrtSoftplusThenTopK => (ScoreFunction::SqrtSoftplus, false),
        Rule::SqrtSoftplusThenTopKRenormalized => (ScoreFunction::SqrtSoftplus, true),
        Rule::ArgMax => {
            let best = top_indices(row, 1).into_iter();
            return Ok(best.map(|expert| (ExpertIdx(expert as u32), 1.0)).collect());
        }
        rule => return Err(ReadingError::Rule { rule }),
    };
    let weights = if are_scores { row.to_vec() } else { score_row(row, function) };
    if recipe.rule == Rule::Soft {
        return Ok(heaviest_first(&weights));
    }
    let experts = top_indices(row, recipe.top_k.unwrap_or(1).min(row.len()));
    let kept: f64 = experts.iter().map(|&expert| f64::from(weights[expert])).sum();
    let scale = if renormalized { kept } else { 1.0 };
    let weight = |expert: usize| (f64::from(weights[expert]) / scale) as f32;
    Ok(experts.into_iter().map(|expert| (ExpertIdx(expert as u32), weight(expert))).collect())
}

fn expert(recipe: &LayerRecipe, id: i64) -> Result<ExpertIdx, ReadingError> {
    let inside = u32::try_from(id).ok().filter(|&id| (id as usize) < recipe.num_experts).map(ExpertIdx);
    inside.ok_or_else(|| {
        let (layer, num_experts) = (recipe.name.clone(), recipe.num_experts);
        RoutingError::Expert { layer, expert: id, num_experts }.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LayerCard;
    use crate::model::routers::GatingRule as Rule;

    fn recipe(rule: Rule) -> LayerRecipe {
        let card = LayerCard { num_experts: 3, top_k: Some(2), rule: Some(rule), ..LayerCard::default() };
        LayerRecipe::of_card(&card).shown(|_| None)
    }

    fn assert_chosen(found: Result<Choices, ReadingError>, expected: &[(u32, f32)], what: &str) {
        let found = found.unwrap();
        let alike = |(a, b): (&(ExpertIdx, f32), &(u32, f32))| a.0.0 == b.0 && (a.1 - b.1).abs() < 1e-5;
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(alike), "{what}: {found:?}");
    }

    /// By hand: eˣ is 1, 3 and 2.
    #[test]
    fn a_choice_is_worked_out_from_logits_by_every_rule_that_allows_it() {
        let logits = [0.0, 3_f32.ln(), 2_f32.ln()];
        let cases: [(Rule, &[(u32, f32)]); 9] = [
            (Rule::SoftmaxThenTopK, &[(1, 0.5), (2, 1.0 / 3.0)]),
            (Rule::SoftmaxThenTopKRenormalized, &[(1, 0.6), (2, 0.4)]),
            (Rule::TopKThenSoftmax, &[(1, 0.6), (2, 0.4)]),
            (Rule::SigmoidThenTopK, &[(1, 0.75), (2, 2.0 / 3.0)]),
            (Rule::SigmoidThenTopKRenormalized, &[(1, 9.0 / 17.0), (2, 8.0 / 17.0)]),
            (Rule::SqrtSoftplusThenTopK, &[(1, 1.177_41), (2, 1.048_147)]),
            (Rule::SqrtSoftplusThenTopKRenormalized, &[(1, 0.529_041), (2, 0.470_959)]),
            (Rule::ArgMax, &[(1, 1.0)]),
            (Rule::Soft, &[(1, 0.5), (2, 1.0 / 3.0), (0, 1.0 / 6.0)]),
        ];
        for (rule, expected) in cases {
            assert_chosen(chosen(&recipe(rule), &logits, false), expected, rule.name());
        }
        assert_eq!(cases.map(|(rule, _)| rule), LayerCard::RULES, "what a card may say is what is done");
        for rule in [Rule::ExpertChoice, Rule::SoftMoe, Rule::TopP, Rule::ProductKey, Rule::ContribMoe, Rule::Other] {
            assert_eq!(chosen(&recipe(rule), &logits, false), Err(ReadingError::Rule { rule }));
        }
    }

    #[test]
    fn scores_are_taken_as_they_are() {
        let scores = [0.1, 0.6, 0.3];
        let cases: [(Rule, &[(u32, f32)]); 4] = [
            (Rule::SigmoidThenTopK, &[(1, 0.6), (2, 0.3)]),
            (Rule::SoftmaxThenTopKRenormalized, &[(1, 2.0 / 3.0), (2, 1.0 / 3.0)]),
            (Rule::TopKThenSoftmax, &[(1, 2.0 / 3.0), (2, 1.0 / 3.0)]),
            (Rule::Soft, &[(1, 0.6), (2, 0.3), (0, 0.1)]),
        ];
        for (rule, expected) in cases {
            assert_chosen(chosen(&recipe(rule), &scores, true), expected, rule.name());
        }
    }
}
