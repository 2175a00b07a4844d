//! Puts together what is known of one candidate: a router with its evidence, or the reason why it is none.

use super::capacity;
use super::experts::{Found, find_experts};
use super::kinds::{Choice, Picked, Scores};
use super::names::{node_name, router_name, tensor_ref, weight_len};
use super::objections::objection;
use super::parallel::dense_beside;
use super::per_image::per_image;
use super::ranks::ranks;
use super::region::Regions;
use super::report::{
    Capacity, Confidence, ExpertForm, Experts, GatingRule, NearMiss, Router, RouterTensors, ScoreFunction, TopKSource,
};
use super::rule::{Named, has_selection_bias, main_choice, name_choice, name_masked};
use super::scores::{expert_axis, fused_function, has_noise, product_width};
use super::seeds::Candidate;
use super::shared::shared_experts;
use super::tensors::{dispatch, heads, kept, pair_score, pair_tensors, weight_of_rows};
use super::walk::{Rank, Walk};
use super::warnings::warnings;
use crate::model::graph::{ModelGraph, NodeId, ValueId};

/// A router, its place among all nodes, and the weights of its experts.
#[derive(Debug)]
pub(super) struct Assembled {
    pub router: Router,
    pub at: NodeId,
    pub weights: Vec<ValueId>,
}

/// A router, or why a candidate is none.
pub(super) fn assemble<'g, 'a>(
    graph: &'g ModelGraph<'a>,
    regions: &mut Regions<'g, 'a>,
    candidate: &Candidate,
) -> Result<Assembled, NearMiss> {
    let miss = |reason: &str| NearMiss { node: node_name(graph, candidate.seeds[0]), reason: reason.to_owned() };
    let axis = |root: ValueId| root_axis(graph, candidate, root);
    let width = candidate.logits.first().and_then(|&root| graph.shape(root)?.get(axis(root)?).copied());
    let width = width.filter(|&width| width > 0).or_else(|| product_width(graph, candidate.raw));
    let mut walk = Walk::new(graph, &roots(graph, candidate), width, axis);
    walk.findings.random |= candidate.logits.iter().any(|&logits| has_noise(graph, candidate.raw, logits));
    let plan = Plan::new(graph, candidate, &walk).map_err(miss)?;
    let mut found = find_experts(graph, regions, &walk, candidate.raw, &plan.widths, plan.slots).map_err(miss)?;
    if let (Some(&width), Some(real)) = (plan.widths.first(), walk.findings.real_experts)
        && usize::try_from(real) == Ok(found.count)
        && real < width
    {
        found.without_weights += (width - real) as usize;
        found.count = width as usize;
    }
    if let Some(reason) = objection(&plan, graph, regions, candidate, &walk, &found) {
        return Err(miss(reason));
    }
    Ok(plan.router(graph, regions, candidate, &walk, &found))
}

/// Where the walk begins: the logits, of both halves where keys are halved.
fn roots(graph: &ModelGraph<'_>, candidate: &Candidate) -> Vec<ValueId> {
    let mut roots = candidate.logits.clone();
    if let Some((_, halves)) = candidate.half_keys {
        roots = halves.iter().filter_map(|&half| graph.node(half).input(0)).collect();
    }
    roots
}

/// The axis of experts of a root; where a reshape hides it, the axis along which the seed that takes it chooses.
fn root_axis(graph: &ModelGraph<'_>, candidate: &Candidate, root: ValueId) -> Option<usize> {
    let rank = graph.shape(root)?.len();
    expert_axis(graph, candidate.raw, root).or_else(|| {
        let number = candidate.logits.iter().position(|&logits| logits == root);
        let node = graph.node(number.map_or(candidate.seeds[0], |number| candidate.readers[number]));
        graph.axis(node, if node.op == "ArgMax" { 0 } else { -1 }, rank)
    })
}

/// What a candidate would be if experts follow.
pub(super) struct Plan {
    pub named: Named,
    pub main: Option<Choice>,
    pub weights: Option<(ValueId, Picked)>,
    probs: Option<(ValueId, Scores)>,
    /// The numbers of experts to look for.
    widths: Vec<i64>,
    slots: bool,
}

impl Plan {
    fn new(graph: &ModelGraph<'_>, candidate: &Candidate, walk: &Walk<'_, '_>) -> Result<Self, &'static str> {
        let findings = &walk.findings;
        let weights = walk.weights();
        let mut widths: Vec<i64> = Vec::new();
        let size_at = |value: Option<ValueId>, axis: Option<usize>| graph.shape(value?)?.get(axis?).copied();
        let main = main_choice(findings).filter(|main| !findings.falls_back || graph.node(main.node).op != "ArgMax");
        let mut slots = false;
        let named = if let Some((pairs, halves)) = candidate.half_keys {
            let sizes = halves.map(|half| graph.node(half).input(0).and_then(|scores| graph.size_from_end(scores, -1)));
            if let [Some(a), Some(b)] = sizes {
                widths.push(a.saturating_mul(b));
            }
            let choice = Choice { node: pairs, scores: no_scores(), among: None, of_tokens: false, cascaded: false };
            let (top_k, source) = super::rule::k_of(graph, choice);
            let score = if widths.is_empty() { ScoreFunction::None } else { pair_score(graph, pairs) };
            Named { rule: GatingRule::ProductKey, score, top_k, source }
        } else if let Some(main) = main.filter(|_| !findings.cumulated) {
            let scores = graph.node(main.node).input(0);
            widths.extend(if main.of_tokens { size_at(scores, main.scores.axis) } else { main.among });
            widths.extend(walk.width);
            name_choice(graph, findings, main, weights.map(|(_, weights)| weights))
        } else {
            widths.extend(walk.width);
            slots = findings.softmaxes.iter().any(|(_, _, s)| s.over_tokens)
                && findings.softmaxes.iter().any(|(_, _, s)| !s.over_tokens);
            let score = findings.probs.map_or(ScoreFunction::None, |(_, scores)| scores.function);
            if findings.cumulated || findings.limited || findings.falls_back || score == ScoreFunction::Relu {
                name_masked(findings, if findings.cumulated { ScoreFunction::Softmax } else { score })
            } else {
                let rule = match score {
                    _ if slots => GatingRule::SoftMoe,
                    ScoreFunction::Softmax => GatingRule::Soft,
                    _ => GatingRule::Other,
                };
                Named { rule, score, top_k: None, source: TopKSource::None }
            }
        };
        widths.retain(|&width| width > 1);
        widths.dedup();
        if slots {
            widths.extend(slot_counts(graph, walk));
            widths.sort_unstable();
            widths.dedup();
        }
        if widths.is_empty() && (walk.width == Some(1) || main.is_some_and(|main| main.among == Some(1))) {
            return Err("it weights one thing only");
        }
        Ok(Self { named, main, weights, probs: findings.probs, widths, slots })
    }

    fn router<'g, 'a>(
        self,
        graph: &'g ModelGraph<'a>,
        regions: &mut Regions<'g, 'a>,
        candidate: &Candidate,
        walk: &Walk<'_, '_>,
        found: &Found,
    ) -> Assembled {
        let at = self.main.map_or(candidate.seeds[0], |main| main.node);
        let num_experts = self.num_experts(found);
        let weights_kind = self.weights.map(|(_, weights)| weights);
        let scale = weights_kind.map(|weights| weights.scale).filter(|&scale| (scale - 1.0).abs() > 1e-6);
        let mut weights: Vec<ValueId> =
            found.weights.iter().flatten().flat_map(|&w| super::names::weights_of(graph, w)).collect();
        weights.sort_unstable();
        weights.dedup();
        let frozen = found.by_hit || found.fixes_rows || lost_experts(found, num_experts);
        let dispatched = walk.findings.capacity.is_some()
            || matches!(self.named.rule, GatingRule::ExpertChoice | GatingRule::SoftMoe);
        let weights_all = matches!(self.named.rule, GatingRule::Soft | GatingRule::SoftMoe | GatingRule::Other)
            && self.main.is_none()
            && candidate.half_keys.is_none();
        let all_executed = found.all_executed && !dispatched && !weights_all;
        let mut router = Router {
            name: router_name(graph, candidate.raw, 0),
            layer: 0,
            rule: self.named.rule,
            inner_rule: None,
            score: self.named.score,
            num_experts,
            top_k: self.named.top_k.filter(|_| self.named.rule != GatingRule::ExpertChoice).map(|k| k.min(num_experts)),
            top_k_source: self.named.source.clone(),
            heads: heads(graph, candidate),
            selection_bias: self.main.is_some_and(|main| has_selection_bias(main, weights_kind)),
            groups: walk.findings.groups.filter(|_| self.main.is_some()),
            scale,
            capacity: self.capacity(graph, candidate, walk),
            per_image: per_image(graph, candidate.raw),
            shared_experts: match shared_experts(graph, regions, candidate.raw, found, &weights) {
                0 => dense_beside(graph, found.region.merge),
                shared => shared,
            },
            frozen,
            tensors: self.tensors(graph, candidate, walk, found),
            experts: Experts {
                found: found.count,
                form: found.form,
                weights: found.weights.iter().map(|own| root_names(graph, own)).collect(),
                parameters: weights.iter().map(|&weight| weight_len(graph, weight)).sum(),
                all_executed,
                set: 0,
            },
            evidence: self.evidence(graph, candidate, found),
            confidence: Confidence::Certain,
            warnings: Vec::new(),
        };
        router.confidence = confidence(&router, found);
        router.warnings = warnings(&router, walk, found);
        Assembled { router, at, weights }
    }

    /// For expert choice, what each expert takes.
    fn capacity(&self, graph: &ModelGraph<'_>, candidate: &Candidate, walk: &Walk<'_, '_>) -> Option<Capacity> {
        let logits = candidate.logits.first().copied().unwrap_or(candidate.raw);
        match self.named.rule {
            GatingRule::ExpertChoice => Some(capacity::of_choice(graph, walk, logits, self.main, self.named.top_k)),
            _ => capacity::of_places(graph, walk, logits),
        }
    }

    fn num_experts(&self, found: &Found) -> usize {
        if self.slots || self.named.rule == GatingRule::ExpertChoice {
            return found.width;
        }
        self.widths.first().and_then(|&width| usize::try_from(width).ok()).unwrap_or(found.width).max(found.count)
    }

    fn tensors(
        &self,
        graph: &ModelGraph<'_>,
        candidate: &Candidate,
        walk: &Walk<'_, '_>,
        found: &Found,
    ) -> RouterTensors {
        let last = |value: ValueId| graph.shape(value).and_then(|shape| shape.len().checked_sub(1));
        let logits = candidate
            .logits
            .iter()
            .copied()
            .filter(|&root| candidate.half_keys.is_none() && fused_function(graph, root) == ScoreFunction::None)
            .min_by_key(|&root| {
                // Slots of all experts in one axis are what the combine weights have, too.
                let slots = root_axis(graph, candidate, root).and_then(|axis| graph.shape(root)?.get(axis).copied());
                (std::cmp::Reverse(slots.filter(|_| self.slots)), graph.producer(root))
            });
        let chosen = walk.findings.ids.filter(|(ids, _)| !graph.value(*ids).name.is_empty());
        // Of several choices that are made one after the other, no tensor may have all.
        let several = self.main.is_some_and(|main| main.cascaded) && self.named.top_k.is_some_and(|k| k > 1);
        let of_all = |value: ValueId| !matches!(walk.rank(value), Some(Rank::One(_)));
        // Where experts chose tokens and their weights were changed token by token, the weights alone tell the truth; and the
        // best expert of all is chosen only where no other passes.
        let by_weights = walk.findings.falls_back && self.main.is_none()
            || self.named.rule == GatingRule::ExpertChoice
                && self.weights.is_some_and(|(_, picked)| picked.dense && picked.renormalized);
        let chosen = chosen.filter(|&(ids, axis)| !by_weights && (!several || axis.is_some() && of_all(ids)));
        let (ids, weights) = match candidate.half_keys {
            Some((pairs, _)) => pair_tensors(graph, pairs),
            None => (chosen, self.weights.map(|(value, picked)| (value, picked.axis, picked.dense))),
        };
        let weights = weights.filter(|(_, axis, dense)| !several || *dense || axis.is_some());
        // What belongs to one of several choices says nothing of the others.
        let of_one = self.weights.is_some_and(|(_, picked)| picked.of_one) && self.named.top_k != Some(1);
        let weights = weights.filter(|_| !of_one);
        let soft = || self.probs.map(|(value, scores)| (value, scores.axis, true));
        let of_rows = || weight_of_rows(graph, walk, found).map(|value| (value, None, false));
        let weights = weights.or_else(|| of_rows().filter(|_| self.named.rule == GatingRule::ArgMax && !several));
        let weights = weights.or_else(|| soft().filter(|_| self.main.is_none()));
        let k_axis = |value: ValueId, axis: Option<usize>| axis.or(last(value).filter(|_| self.named.top_k != Some(1)));
        let mut tensors = RouterTensors {
            gate_logits: logits.map(|root| tensor_ref(graph, root, root_axis(graph, candidate, root), true)),
            gate_probs: self.probs.map(|(value, scores)| tensor_ref(graph, value, scores.axis, true)),
            expert_ids: ids.map(|(value, axis)| tensor_ref(graph, value, k_axis(value, axis), false)),
            combine_weights: weights.map(|(value, axis, dense)| tensor_ref(graph, value, k_axis(value, axis), dense)),
            kept: ids.and_then(|(ids, _)| kept(graph, walk, ids, self.named.top_k, None)),
            dispatch: if self.slots { dispatch(graph, walk) } else { None },
            ranks: Vec::new(),
        };
        tensors.ranks = ranks(graph, walk, &tensors, self.named.top_k);
        // Experts without weights would seem to count in full: then both are left to be worked out from the logits.
        if of_one && tensors.ranks.is_empty() {
            tensors.expert_ids = None;
        }
        tensors
    }

    fn evidence(&self, graph: &ModelGraph<'_>, candidate: &Candidate, found: &Found) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(gate) = graph.producer(candidate.raw) {
            sentences.push(format!("{} gives the gate logits.", node_name(graph, gate)));
        }
        let seeds: Vec<String> = candidate.seeds.iter().take(4).map(|&seed| node_name(graph, seed)).collect();
        sentences.push(format!("On them work {}.", seeds.join(", ")));
        let places: Vec<String> = found.evidence.iter().take(3).map(|&id| node_name(graph, id)).collect();
        let more = found.evidence.len().saturating_sub(places.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = match found.form {
            ExpertForm::Branches => format!("{} branches with weights of their own begin or end there", found.count),
            ExpertForm::Stacked => format!("weights of {} experts are multiplied there", found.width),
            ExpertForm::Gathered => format!("weights of {} experts are looked up there", found.width),
            ExpertForm::Rows => format!("rows of tables of {} are looked up there", found.width),
            ExpertForm::Kernels => format!("{} kernels are mixed there", found.width),
            ExpertForm::Loop => format!("a loop takes the weights of one of {} experts there", found.width),
            ExpertForm::Operator => "the operator holds the experts".to_owned(),
        };
        sentences.push(format!("{}{more}: {what}.", places.join(", ")));
        sentences.push(format!("Everything comes together again at {}.", node_name(graph, found.region.merge)));
        sentences
    }
}

/// Whether an export lost experts: some among the networks, or the last ones where all are networks. A zero expert, which
/// leaves no trace, stands before or behind those, and beside others that are none.
pub(super) fn lost_experts(found: &Found, num_experts: usize) -> bool {
    let is_short = found.count < num_experts && found.without_weights + found.constants == 0;
    found.form == ExpertForm::Branches && (is_short || found.has_gaps)
}

fn no_scores() -> Scores {
    Scores { function: ScoreFunction::None, biased: false, axis: None, over_tokens: false, masked: None, column: None }
}

/// What the axes of slots tell of the number of experts: in a layout [.., tokens, experts, slots] it is the axis before
/// the last, in a layout [.., tokens, slots of all experts] a divisor of the last.
fn slot_counts(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>) -> Vec<i64> {
    let mut counts = Vec::new();
    for (node, value, scores) in &walk.findings.softmaxes {
        let Some(shape) = graph.shape(*value) else { continue };
        let along = graph.axis(graph.node(*node), -1, shape.len());
        if !scores.over_tokens {
            counts.extend(along.and_then(|axis| shape.get(axis).copied()));
        } else if let (Some(tokens), [.., experts, _]) = (along, shape)
            && tokens + 2 < shape.len()
        {
            counts.push(*experts);
        }
    }
    counts.retain(|&size| size > 1);
    counts
}

fn root_names(graph: &ModelGraph<'_>, own: &[ValueId]) -> Vec<String> {
    let roots = own.iter().flat_map(|&weight| super::names::weights_of(graph, weight));
    let mut names: Vec<String> = roots.map(|root| graph.value(root).name.to_owned()).collect();
    names.dedup();
    names
}

fn confidence(router: &Router, found: &Found) -> Confidence {
    let complete = found.count == router.num_experts && found.unlike.is_none() && !router.frozen;
    let plain_rule = !matches!(router.rule, GatingRule::Other | GatingRule::Threshold);
    let chooses = !matches!(router.rule, GatingRule::Soft);
    match (complete, plain_rule && (chooses || found.form != ExpertForm::Stacked)) {
        (true, true) => Confidence::Certain,
        (true, false) | (false, true) => Confidence::Likely,
        (false, false) => Confidence::Unsure,
    }
}
