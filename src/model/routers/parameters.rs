//! Counts parameters: all, those that one token passes through, those that the graph really runs, and those of its parts.

use super::assemble::Assembled;
use super::report::{ExpertForm, GatingRule, Parameters, Part, Router, RouterReport, TopKSource};
use crate::model::graph::{ModelGraph, ValueId};
use std::collections::{BTreeMap, HashMap};

/// The k that a router is run with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTopK {
    /// Another k than its own by which it chooses.
    pub chosen: Option<usize>,
    /// Another k than its own of experts that the graph runs: more than are chosen where the last ones are run and then left
    /// out.
    pub executed: Option<usize>,
}

impl RunTopK {
    /// The router chooses so many experts, and the graph runs as many.
    #[must_use]
    pub fn of(top_k: usize) -> Self {
        Self { chosen: Some(top_k), executed: Some(top_k) }
    }
}

impl RouterReport {
    /// The parameters when the model is run with another k: `run_with` tells it for each of the routers, in their order. The
    /// default of all is what the graph says by itself, as [`RouterReport::parameters`] has it.
    #[must_use]
    pub fn parameters_at(&self, run_with: &[RunTopK]) -> Parameters {
        count(self.parameters.total, &self.routers, run_with)
    }

    /// The same where the model has an input for k: it counts for every router whose k comes from there.
    #[must_use]
    pub fn with_input(&self, top_k: usize) -> Vec<RunTopK> {
        let run = |router: &Router| match router.top_k_source {
            TopKSource::Input { .. } => RunTopK::of(top_k),
            _ => RunTopK::default(),
        };
        self.routers.iter().map(run).collect()
    }
}

/// Parameters of all weights of a model.
pub(super) fn total(graph: &ModelGraph<'_>) -> u64 {
    graph.weights().iter().fold(0_u64, |total, weight| total.saturating_add(weight.parameters))
}

/// Gives routers of the same experts the same number. Experts whose weights are not known are shared with none.
pub(super) fn number_sets(found: &mut [Assembled]) {
    let mut sets: HashMap<Vec<ValueId>, usize> = HashMap::new();
    for (next, found) in found.iter_mut().enumerate() {
        let weights = std::mem::take(&mut found.weights);
        let known = !weights.is_empty();
        found.router.experts.set = if known { *sets.entry(weights).or_insert(next) } else { next };
    }
}

/// Counts the parameters of a model with these routers; see [`RouterReport::parameters_at`].
pub(super) fn count(total: u64, routers: &[Router], run_with: &[RunTopK]) -> Parameters {
    // Routers that share their experts, one after the other or for several tasks, count them once.
    let mut sets: BTreeMap<usize, Vec<(&Router, RunTopK)>> = BTreeMap::new();
    for (at, router) in routers.iter().enumerate() {
        let run = run_with.get(at).copied().unwrap_or_default();
        sets.entry(router.experts.set).or_default().push((router, run));
    }
    let mut parameters = Parameters { total, experts: 0, activated: Some(total), executed: Some(total) };
    for sharing in sets.values() {
        let first = sharing[0].0;
        let experts = first.experts.parameters;
        parameters.experts += experts;
        let idle = |active: usize| {
            let num_experts = first.num_experts.max(1) as u64;
            (experts / num_experts).saturating_mul(num_experts.saturating_sub(active as u64))
        };
        let subtract = |from: Option<u64>, active: Option<usize>| Some(from?.saturating_sub(idle(active?)));
        let chosen = sharing.iter().map(|(router, run)| active(router, run.chosen)).sum();
        parameters.activated = subtract(parameters.activated, chosen);
        if !sharing.iter().any(|(router, _)| router.runs_all()) {
            let executed = sharing.iter().map(|(router, run)| active(router, run.executed)).sum();
            parameters.executed = subtract(parameters.executed, executed);
        }
    }
    parameters
}

/// The experts that one token passes through, at another k than the router's own; `None` where that differs from token to
/// token.
fn active(router: &Router, top_k: Option<usize>) -> Option<usize> {
    match router.rule {
        GatingRule::Soft | GatingRule::SoftMoe => Some(router.num_experts),
        GatingRule::ExpertChoice | GatingRule::TopP | GatingRule::Threshold => None,
        _ => Some(top_k.or(router.top_k)?.saturating_mul(router.heads)),
    }
}

impl Router {
    /// Whether the graph reads the weights of every expert, whatever is chosen.
    #[must_use]
    pub fn runs_all(&self) -> bool {
        self.experts.all_executed || matches!(self.experts.form, ExpertForm::Stacked | ExpertForm::Kernels)
    }
}

/// Weights by the first parts of their names, which exporters take from the modules of the model.
pub(super) fn parts(graph: &ModelGraph<'_>) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for weight in graph.weights() {
        let part = parts.entry(part_name(weight.name)).or_default();
        part.parameters = part.parameters.saturating_add(weight.parameters);
        part.bytes = part.bytes.saturating_add(weight.bytes);
    }
    parts
}

/// `blocks.3.mlp.up.weight` is a part of `blocks.3`, `head.weight` of `head`.
fn part_name(weight: &str) -> String {
    let mut names: Vec<&str> = weight.split(['.', '/']).filter(|name| !name.is_empty()).collect();
    names.pop();
    let numbered = names.iter().position(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    names.truncate(numbered.map_or(1, |at| at + 1));
    if names.is_empty() { "other".to_owned() } else { names.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routers::routers_of;
    use crate::model::{decode_model, map_file};
    use serde_json::Value;
    use std::fs;
    use std::path::Path;

    /// What the finder found in a row of the zoo, and what row.json says of its routers.
    fn row(name: &str) -> (RouterReport, Vec<Value>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows").join(name);
        let path = folder.join("model.onnx");
        let report = routers_of(&decode_model(&path, &map_file(&path).unwrap()).unwrap());
        let json: Value = serde_json::from_slice(&fs::read(folder.join("row.json")).unwrap()).unwrap();
        (report, json["routers"].as_array().unwrap().clone())
    }

    /// Rows whose layers are alike, with the parameters of one expert as its paper and the row's widths give them, and how
    /// many of its experts a token has at the row's own k and at 1.
    const ROWS: [(&str, u64, [u64; 2]); 7] = [
        // Two vectors of 8 for each expert; two heads, each with k of its own.
        ("peer", 8 + 8, [8, 2]),
        ("peer-dynamo", 8 + 8, [8, 2]),
        ("switch", 32 * 32 + 32 * 32, [1, 1]),
        ("limoe", 32 * 24 + 24 * 32, [1, 1]),
        ("noisy-top-k", 2 * (32 * 32 + 32), [2, 1]),
        // Gate and up are one matrix of twice the width.
        ("hf-mixtral-eager-torchscript", 16 * 48 + 24 * 16, [2, 1]),
        ("hf-mixtral-batched-torchscript", 16 * 48 + 24 * 16, [2, 1]),
    ];

    #[test]
    fn a_token_activates_its_experts_and_no_others() {
        for (name, of_expert, [own, at_one]) in ROWS {
            let (report, truth) = row(name);
            for (router, truth) in report.routers.iter().zip(&truth) {
                assert_eq!(router.heads as u64, truth["heads"].as_u64().unwrap_or(1), "{name}: heads");
            }
            let experts: u64 = truth.iter().map(|router| router["num_experts"].as_u64().unwrap()).sum();
            let idle = |of_token: u64| of_expert * (experts - of_token * truth.len() as u64);
            let total = report.parameters.total;
            assert_eq!(report.parameters.experts, of_expert * experts, "{name}: experts");
            assert_eq!(report.parameters.activated, Some(total - idle(own)), "{name}");
            let with_one = vec![RunTopK::of(1); report.routers.len()];
            let at = report.parameters_at(&with_one);
            assert_eq!(at.activated, Some(total - idle(at_one)), "{name} at k = 1");
            // What is chosen and left out afterwards was run.
            let left_out = vec![RunTopK { chosen: Some(1), executed: None }; report.routers.len()];
            assert_eq!(report.parameters_at(&left_out).executed, report.parameters.executed, "{name}: executed");
        }
    }
}
