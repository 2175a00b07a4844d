//! Counts parameters: all, those that one token passes through, those that the graph really runs, and those of its parts.

use super::assemble::Assembled;
use super::report::{ExpertForm, GatingRule, Parameters, Part, Router, RouterReport, TopKSource};
use crate::model::graph::{ModelGraph, ValueId};
use std::collections::{BTreeMap, HashMap};

impl RouterReport {
    /// The parameters when the model is run with another k: `top_k` counts for every router whose k is an input of the
    /// model. `None` is what the graph says by itself, as [`RouterReport::parameters`] has it.
    #[must_use]
    pub fn parameters_at(&self, top_k: Option<usize>) -> Parameters {
        count(self.parameters.total, &self.routers, top_k)
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
pub(super) fn count(total: u64, routers: &[Router], top_k: Option<usize>) -> Parameters {
    // Routers that share their experts, one after the other or for several tasks, count them once.
    let mut sets: BTreeMap<usize, Vec<&Router>> = BTreeMap::new();
    for router in routers {
        sets.entry(router.experts.set).or_default().push(router);
    }
    let mut parameters = Parameters { total, experts: 0, activated: Some(total), executed: Some(total) };
    for sharing in sets.values() {
        let experts = sharing[0].experts.parameters;
        parameters.experts += experts;
        let idle = |k: usize| {
            let num_experts = sharing[0].num_experts.max(1) as u64;
            (experts / num_experts).saturating_mul(num_experts.saturating_sub(k as u64))
        };
        let chosen: Option<usize> = sharing.iter().map(|router| active(router, top_k)).sum();
        let subtract = |from: Option<u64>, k: Option<usize>| Some(from?.saturating_sub(idle(k?)));
        parameters.activated = subtract(parameters.activated, chosen);
        if !sharing.iter().any(|router| router.runs_all()) {
            parameters.executed = subtract(parameters.executed, chosen);
        }
    }
    parameters
}

/// The experts that one token passes through; `None` where that differs from token to token.
fn active(router: &Router, top_k: Option<usize>) -> Option<usize> {
    match router.rule {
        GatingRule::Soft | GatingRule::SoftMoe => Some(router.num_experts),
        GatingRule::ExpertChoice | GatingRule::TopP | GatingRule::Threshold => None,
        _ if matches!(router.top_k_source, TopKSource::Input { .. }) => top_k.or(router.top_k),
        _ => router.top_k,
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
