//! Names the gating rule from what the walk found.

use super::kinds::{Choice, Findings, MaskOf, Picked};
use super::report::{GatingRule, ScoreFunction, TopKSource};
use crate::model::graph::{ModelGraph, Source, ValueId};

/// Rule, score function, k and where k comes from.
#[derive(Debug)]
pub(super) struct Named {
    pub rule: GatingRule,
    pub score: ScoreFunction,
    pub top_k: Option<usize>,
    pub source: TopKSource,
}

/// Names the rule of a choice among experts.
pub(super) fn name_choice(graph: &ModelGraph<'_>, findings: &Findings, main: Choice, weights: Option<Picked>) -> Named {
    let node = graph.node(main.node);
    let steps = findings.choices.iter().filter(|choice| choice.among == main.among && !choice.of_tokens).count();
    let (k, source) = match node.op {
        "ArgMax" => (Some(steps), TopKSource::Operator),
        _ => k_of(graph, main),
    };
    let k = findings.front.and_then(|front| usize::try_from(front).ok()).filter(|_| k.is_some()).or(k);
    let top_k = if findings.choices.iter().any(|choice| choice.cascaded) { k.map(|k| k.max(steps)) } else { k };
    let (rule, score) = match weights {
        _ if main.of_tokens => (GatingRule::ExpertChoice, main.scores.function),
        // One after the other, each weighted among what is near it (Liu et al.: GRIN, 2024).
        Some(weights) if main.cascaded && node.op == "ArgMax" && weights.of_part => {
            (GatingRule::ArgMax, of_weights(weights).1)
        }
        Some(weights) => of_weights(weights),
        None if node.op == "ArgMax" => (GatingRule::ArgMax, main.scores.function),
        None => (GatingRule::Other, main.scores.function),
    };
    Named { rule, score, top_k, source }
}

fn of_weights(weights: Picked) -> (GatingRule, ScoreFunction) {
    use GatingRule as Rule;
    use ScoreFunction as Score;
    let rule = match (weights.before, weights.after, weights.renormalized) {
        (Score::Softmax, Score::None, false) => Rule::SoftmaxThenTopK,
        (Score::Softmax, Score::None, true) => Rule::SoftmaxThenTopKRenormalized,
        (Score::None, Score::Softmax, _) => Rule::TopKThenSoftmax,
        (Score::Sigmoid, Score::None, false) | (Score::None, Score::Sigmoid, false) => Rule::SigmoidThenTopK,
        (Score::Sigmoid, Score::None, true) | (Score::None, Score::Sigmoid, true) => Rule::SigmoidThenTopKRenormalized,
        (Score::SqrtSoftplus, Score::None, false) | (Score::None, Score::SqrtSoftplus, false) => {
            Rule::SqrtSoftplusThenTopK
        }
        (Score::SqrtSoftplus, Score::None, true) | (Score::None, Score::SqrtSoftplus, true) => {
            Rule::SqrtSoftplusThenTopKRenormalized
        }
        _ => Rule::Other,
    };
    (rule, if weights.after == Score::None { weights.before } else { weights.after })
}

/// Names the rule of a router that weights whatever a comparison leaves.
pub(super) fn name_masked(findings: &Findings, score: ScoreFunction) -> Named {
    let rule = if findings.cumulated { GatingRule::TopP } else { GatingRule::Threshold };
    Named { rule, score, top_k: None, source: TopKSource::None }
}

/// k of a `TopK`, and where it comes from.
pub(super) fn k_of(graph: &ModelGraph<'_>, choice: Choice) -> (Option<usize>, TopKSource) {
    let node = graph.node(choice.node);
    let Some(k) = node.input(1) else {
        return (graph.int(node, "k").and_then(|k| usize::try_from(k).ok()), TopKSource::Attribute);
    };
    if let Some(input) = input_behind(graph, k) {
        let default = match graph.value(input).source {
            Source::Input(Some(_)) => graph.const_int(input),
            _ => None,
        };
        let source = TopKSource::Input { name: graph.value(input).name.to_owned() };
        return (default.and_then(|k| usize::try_from(k).ok()), source);
    }
    match graph.const_int(k) {
        Some(k) => (usize::try_from(k).ok(), TopKSource::Constant),
        None => (None, TopKSource::Computed),
    }
}

/// The input of the model that a count comes from, seen through casts, reshapes and limits.
fn input_behind(graph: &ModelGraph<'_>, mut value: ValueId) -> Option<ValueId> {
    for _ in 0..16 {
        match graph.value(value).source {
            Source::Input(_) => return Some(value),
            Source::Node(id) => {
                let node = graph.node(id);
                let simple = matches!(
                    node.op,
                    "Cast"
                        | "Reshape"
                        | "Unsqueeze"
                        | "Squeeze"
                        | "Identity"
                        | "Min"
                        | "Max"
                        | "Clip"
                        | "Concat"
                        | "Gather"
                );
                value = node
                    .inputs
                    .iter()
                    .flatten()
                    .copied()
                    .find(|&input| graph.const_int(input).is_none())
                    .or(node.input(0))?;
                if !simple {
                    return None;
                }
            }
            _ => return None,
        }
    }
    None
}

/// Whether the bias of the choice is missing in the weights.
pub(super) fn has_selection_bias(main: Choice, weights: Option<Picked>) -> bool {
    main.scores.biased && weights.is_none_or(|weights| !weights.biased)
}

/// The choice that decides: the last among experts that no group limits. Earlier ones limit it or were taken out of it.
pub(super) fn main_choice(findings: &Findings) -> Option<Choice> {
    let of_experts = |choice: &&Choice| choice.scores.masked != Some(MaskOf::Choice) || choice.cascaded;
    findings.choices.iter().rfind(of_experts).copied()
}
