//! The choices that PyTorch recorded, as a program has to show them: per token its experts with their weights.

use crate::row::Golden;
use ndarray::{Array2, ArrayD};
use serde_json::Value;

/// One token's experts with their combine weights, the best first.
pub type Choices = Vec<(usize, f64)>;

/// The choices of all tokens of router `router` for input `input`; `None` where PyTorch recorded none.
pub fn recorded(golden: &mut Golden, [input, router]: [usize; 2], truth: &Value) -> Option<Vec<Choices>> {
    let mut read = |name: &str| golden.floats(&format!("router.{input}.{router}.{name}"));
    let experts = usize::try_from(truth["num_experts"].as_u64().unwrap()).unwrap();
    match truth["rule"].as_str().unwrap() {
        "soft_moe" => {
            let combine = rows(&read("combine")?);
            let slots = combine.ncols() / experts;
            let share = |row: &[f64]| row.chunks_exact(slots).map(|slots| slots.iter().sum()).collect::<Vec<f64>>();
            Some(combine.rows().into_iter().map(|row| heaviest_first(&share(&row.to_vec()))).collect())
        }
        "expert_choice" => {
            let (tokens, weights) = (rows(&read("token_ids")?), rows(&read("combine_weights")?));
            let mut choices = vec![Choices::new(); rows(&read("gate_probs")?).nrows()];
            for ((expert, slot), &token) in tokens.indexed_iter() {
                choices[token as usize].push((expert, weights[[expert, slot]]));
            }
            choices.iter_mut().for_each(|token| token.sort_by(|a, b| b.1.total_cmp(&a.1)));
            Some(choices)
        }
        rule => {
            let weights = read("combine_weights")?;
            let kept = read("kept");
            let Some(ids) = read("expert_ids") else {
                return Some(rows(&weights).rows().into_iter().map(|row| heaviest_first(&row.to_vec())).collect());
            };
            let per_token = if rule == "product_key" { ids.len() / ids.shape()[0] } else { rows(&ids).ncols() };
            let columns =
                |array: &ArrayD<f64>| array.to_shape((array.len() / per_token, per_token)).unwrap().to_owned();
            let (ids, weights, kept) = (columns(&ids), columns(&weights), kept.map(|kept| columns(&kept)));
            let takes_some = matches!(rule, "top_p" | "threshold");
            let of_token = |token: usize| {
                let choice = |rank: usize| {
                    let is_kept = kept.as_ref().is_none_or(|kept| kept[[token, rank]] != 0.0);
                    let weight = if is_kept { weights[[token, rank]] } else { 0.0 };
                    (is_kept || !takes_some).then_some((ids[[token, rank]] as usize, weight))
                };
                let mut choices: Choices = (0..per_token).filter_map(choice).collect();
                if matches!(rule, "product_key" | "threshold") {
                    choices.sort_by(|a, b| b.1.total_cmp(&a.1));
                }
                choices
            };
            Some((0..ids.nrows()).map(of_token).collect())
        }
    }
}

fn heaviest_first(weights: &[f64]) -> Choices {
    let mut choices: Choices = weights.iter().copied().enumerate().filter(|(_, weight)| *weight != 0.0).collect();
    choices.sort_by(|a, b| b.1.total_cmp(&a.1));
    choices
}

/// Rows of the last axis.
fn rows(array: &ArrayD<f64>) -> Array2<f64> {
    let columns = array.shape().last().copied().unwrap_or(1).max(1);
    array.to_shape((array.len() / columns, columns)).unwrap().to_owned()
}
