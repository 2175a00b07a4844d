//! Gate probabilities: as the graph has them, or computed from the gate logits by the router's own function.

use super::rows::Rows;
use super::{Choices, LayerRecipe, MAX_GATED_EXPERTS, ReadingError, rows_of};
use crate::engine::RunResult;
use crate::model::routers::{GatingRule, ScoreFunction};
use crate::routing::softmax;

/// Gate probabilities [tokens, E]; none where the router has none.
pub(super) fn of(
    recipe: &LayerRecipe,
    run: &RunResult,
    choices: &[Choices],
) -> Result<Option<Rows<f32>>, ReadingError> {
    if recipe.num_experts > MAX_GATED_EXPERTS {
        return Ok(None);
    }
    if recipe.rule == GatingRule::SoftMoe {
        // What a graph has there says how slots are mixed of tokens; an expert's share of a token is what it has.
        return Ok(Some(shares(choices, recipe.num_experts)));
    }
    let rows = match rows_of(run, recipe.gate_probs.as_ref())? {
        Some(rows) => Some(rows),
        None => rows_of(run, recipe.gate_logits.as_ref())?.map(|logits| scores(&logits, recipe.score)),
    };
    Ok(rows.filter(|rows| rows.columns == recipe.num_experts && rows.len() == choices.len()))
}

/// The weights of the chosen experts among zeros.
fn shares(choices: &[Choices], num_experts: usize) -> Rows<f32> {
    let mut values = vec![0.0; choices.len() * num_experts];
    for (row, choices) in values.chunks_exact_mut(num_experts.max(1)).zip(choices) {
        choices.iter().for_each(|&(expert, weight)| row[expert.0 as usize] = weight);
    }
    Rows { values, columns: num_experts }
}

/// The function that a rule makes scores with.
pub(super) fn of_rule(rule: GatingRule) -> ScoreFunction {
    use GatingRule as Rule;
    match rule {
        Rule::SigmoidThenTopK | Rule::SigmoidThenTopKRenormalized | Rule::Threshold => ScoreFunction::Sigmoid,
        Rule::SqrtSoftplusThenTopK | Rule::SqrtSoftplusThenTopKRenormalized => ScoreFunction::SqrtSoftplus,
        _ => ScoreFunction::Softmax,
    }
}

/// The function of each row. A router without one is shown by the softmax that its logits would have.
fn scores(logits: &Rows<f32>, score: ScoreFunction) -> Rows<f32> {
    let values = logits.iter().flat_map(|row| score_row(row, score)).collect();
    Rows { values, columns: logits.columns }
}

pub(super) fn score_row(logits: &[f32], score: ScoreFunction) -> Vec<f32> {
    let each = |function: fn(f64) -> f64| logits.iter().map(|&logit| function(f64::from(logit)) as f32).collect();
    match score {
        ScoreFunction::None | ScoreFunction::Softmax => softmax(logits),
        ScoreFunction::Sigmoid => each(|logit| 1.0 / (1.0 + (-logit).exp())),
        ScoreFunction::Relu => each(|logit| logit.max(0.0)),
        // ln(1 + eˣ) without the overflow of eˣ.
        ScoreFunction::SqrtSoftplus => each(|logit| (logit.max(0.0) + (-logit.abs()).exp().ln_1p()).sqrt()),
    }
}
