//! Counts parameters: all, those that one token passes through, and those that the graph really runs.

use super::assemble::Assembled;
use super::report::{ExpertForm, GatingRule, Parameters};
use crate::model::graph::ModelGraph;
use std::collections::BTreeMap;

/// Counts the parameters of a model with these routers.
pub(super) fn count(graph: &ModelGraph<'_>, routers: &[Assembled]) -> Parameters {
    let total = graph.weights().iter().fold(0_u64, |total, weight| total.saturating_add(weight.parameters));
    // Routers that share their experts, one after the other or for several tasks, count them once.
    let mut sets: BTreeMap<Vec<u32>, Vec<&Assembled>> = BTreeMap::new();
    for router in routers {
        sets.entry(router.weights.iter().map(|weight| weight.0).collect()).or_default().push(router);
    }
    let mut parameters = Parameters { total, experts: 0, activated: Some(total), executed: Some(total) };
    for sharing in sets.values() {
        let experts = sharing[0].router.experts.parameters;
        parameters.experts += experts;
        let idle = |k: usize| {
            let num_experts = sharing[0].router.num_experts.max(1) as u64;
            (experts / num_experts).saturating_mul(num_experts.saturating_sub(k as u64))
        };
        let chosen: Option<usize> = sharing.iter().map(|router| active(router)).sum();
        let subtract = |from: Option<u64>, k: Option<usize>| Some(from?.saturating_sub(idle(k?)));
        parameters.activated = subtract(parameters.activated, chosen);
        if !sharing.iter().any(|router| runs_all(router)) {
            parameters.executed = subtract(parameters.executed, chosen);
        }
    }
    parameters
}

/// The experts that one token passes through; `None` where that differs from token to token.
fn active(router: &Assembled) -> Option<usize> {
    match router.router.rule {
        GatingRule::Soft | GatingRule::SoftMoe => Some(router.router.num_experts),
        GatingRule::ExpertChoice | GatingRule::TopP | GatingRule::Threshold => None,
        _ => router.router.top_k,
    }
}

/// Whether the graph reads the weights of every expert, whatever is chosen.
fn runs_all(router: &Assembled) -> bool {
    let experts = &router.router.experts;
    experts.all_executed || matches!(experts.form, ExpertForm::Stacked | ExpertForm::Kernels)
}
