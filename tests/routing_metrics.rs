//! Every routing measure against worked values of an independent NumPy reference (6 tokens × 4 experts, k = 2).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use moescope::routing::{
    AuxLossShare, CoActivation, ExpertIdx, GateInformation, LabelExpertTable, LayerBalance, LayerRouting, LoadStats,
    PatchIdx, Priority, Specialization, TokenMeasures, TopK, aux_loss, expert_capacity, margin, overflow, softmax,
    top_indices, z_loss,
};
use serde_json::Value;

/// The fixture prints six decimals.
const TOLERANCE: f64 = 2e-6;

struct Fixture(Value);

impl Fixture {
    fn load() -> Self {
        Self(serde_json::from_str(include_str!("fixtures/routing_metrics.json")).unwrap())
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        flatten(&self.0[key])
    }

    fn floats(&self, key: &str) -> Vec<f32> {
        self.numbers(key).iter().map(|&value| value as f32).collect()
    }

    fn number(&self, path: &str) -> f64 {
        self.0.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path}"))
    }

    /// The routing of the fixture, with gate probabilities made by our own softmax.
    fn routing(&self) -> LayerRouting {
        let probs: Vec<f32> = self.floats("logits").chunks_exact(4).flat_map(softmax).collect();
        let ids: Vec<i64> = self.numbers("topk_idx").iter().map(|&id| id as i64).collect();
        LayerRouting::new("fixture", 4, TopK::new(2, 4).unwrap(), probs, &ids, self.floats("w_renorm")).unwrap()
    }

    fn labels(&self) -> Vec<usize> {
        self.numbers("labels").iter().map(|&label| label as usize).collect()
    }
}

fn flatten(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flatten).collect(),
        number => vec![number.as_f64().expect("a number")],
    }
}

#[track_caller]
fn check(found: impl IntoIterator<Item = impl Into<f64>>, expected: &[f64]) {
    let found: Vec<f64> = found.into_iter().map(Into::into).collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < TOLERANCE, "found {found}, expected {expected}");
    }
}

#[test]
fn gates() {
    let fixture = Fixture::load();
    let routing = fixture.routing();
    check(routing.gate_probs().iter().copied(), &fixture.numbers("probs"));
    let chosen = routing.gate_probs().chunks_exact(4).flat_map(|probs| top_indices(probs, 2));
    check(chosen.map(|index| index as u32), &fixture.numbers("topk_idx"));
    check([z_loss(&fixture.floats("logits"), 4)], &[fixture.number("/z_loss")]);
}

#[test]
fn token_measures() {
    let fixture = Fixture::load();
    let routing = fixture.routing();
    let tokens = TokenMeasures::of(&routing);
    check(tokens.entropy.iter().copied(), &fixture.numbers("token_entropy"));
    check(tokens.margin.iter().copied(), &fixture.numbers("margin_selected"));
    check(routing.gate_probs().chunks_exact(4).map(|probs| margin(probs, 1)), &fixture.numbers("margin_top1"));
    assert_eq!(tokens.non_finite, 0);
    let information = GateInformation::of(&LayerBalance::of(&routing), &tokens);
    let (local, global) = (fixture.number("/limoe_local_entropy"), fixture.number("/limoe_global_entropy"));
    check([information.mean_token_entropy, information.entropy_of_mean], &[local, global]);
    check([information.token_expert_information], &[global - local]);
}

#[test]
fn balance() {
    let fixture = Fixture::load();
    let balance = LayerBalance::of(&fixture.routing());
    check(balance.load.iter().map(|&count| count as u32), &fixture.numbers("load_counts"));
    check(balance.importance, &fixture.numbers("importance"));
    check_stats(&fixture, "/load_stats", &balance.load_stats);
    check_stats(&fixture, "/importance_stats", &balance.importance_stats);
}

#[track_caller]
fn check_stats(fixture: &Fixture, group: &str, stats: &LoadStats) {
    let expected = |key: &str| fixture.number(&format!("{group}/{key}"));
    for (key, found) in [
        ("cv", stats.cv),
        ("cv2", stats.cv_squared),
        ("cv2_unbiased", stats.cv_squared_unbiased),
        ("max_over_mean", stats.max_over_mean),
        ("maxvio", stats.max_violation),
        ("entropy_nats", stats.entropy_nats),
        ("entropy_norm", stats.entropy_normalized),
        ("perplexity", stats.effective_experts),
        ("eff_simpson", stats.effective_experts_simpson),
        ("gini", stats.gini),
        ("gini_norm", stats.gini_normalized),
        ("kl_uniform", stats.kl_to_uniform),
        ("dead", stats.dead as f64),
    ] {
        assert!((found - expected(key)).abs() < TOLERANCE, "{group}/{key}: {found}, expected {}", expected(key));
    }
}

/// Gate mass has no value of its own in the fixture: with the raw gates as weights it is the kept probability mass.
#[test]
fn gate_mass_is_the_sum_of_the_applied_weights() {
    let fixture = Fixture::load();
    let ids: Vec<i64> = fixture.numbers("topk_idx").iter().map(|&id| id as i64).collect();
    let weights = fixture.floats("w_softmax_topk");
    let routing =
        LayerRouting::new("raw", 4, TopK::new(2, 4).unwrap(), fixture.floats("probs"), &ids, weights).unwrap();
    let kept = (0..6).map(|token| routing.weights_of(PatchIdx(token)).iter().sum::<f32>());
    check(kept, &fixture.numbers("topk_mass"));
    let total: f64 = LayerBalance::of(&routing).gate_mass.iter().sum();
    check([total], &[fixture.numbers("topk_mass").iter().sum()]);
}

#[test]
fn auxiliary_losses() {
    let fixture = Fixture::load();
    let routing = fixture.routing();
    for (share, key) in [
        (AuxLossShare::TopOne, "/switch_aux_top1"),
        (AuxLossShare::Assignments, "/aux_topk_sumf1"),
        (AuxLossShare::Tokens, "/aux_topk_sumfk"),
    ] {
        check([aux_loss(&routing, share)], &[fixture.number(key)]);
    }
}

#[test]
fn overflow_of_a_capacity_of_one() {
    let fixture = Fixture::load();
    let capacity = expert_capacity(6, 2, 4, fixture.number("/C"), 1);
    for (priority, group) in [(Priority::FirstCome, "overflow_fifo"), (Priority::LargestGate, "overflow_bpr")] {
        let found = overflow(&fixture.routing(), capacity, priority);
        let expected = |key: &str| fixture.number(&format!("/{group}/{key}"));
        check(
            [found.capacity as u32, found.dropped.len() as u32],
            &[expected("capacity"), expected("dropped_assignments")],
        );
        check([found.dropped_share], &[expected("dropped_frac")]);
        check([found.tokens_fully_dropped as u32], &[expected("tokens_fully_dropped")]);
        let list = found.dropped.iter().flat_map(|drop| [drop.patch.0 as u32, drop.expert.0, drop.rank as u32]);
        check(list, &flatten(&fixture.0[group]["list"]));
    }
}

#[test]
fn co_activation() {
    let fixture = Fixture::load();
    let pairs = CoActivation::of(&fixture.routing());
    let all = || (0..4).flat_map(|a| (0..4).map(move |b| (ExpertIdx(a), ExpertIdx(b))));
    check(all().map(|(a, b)| pairs.count(a, b) as u32), &fixture.numbers("coact_counts"));
    check(all().map(|(a, b)| pairs.share_given(a, b)), &fixture.numbers("coact_cond"));
}

#[test]
fn specialization_of_first_choices_and_of_gates() {
    let fixture = Fixture::load();
    let mut hard = LabelExpertTable::new(2, 4);
    hard.add_first_choices(&fixture.routing(), &fixture.labels());
    check_specialization(&fixture, "mi_hard_top1", &hard.specialization());
    let mut soft = LabelExpertTable::new(2, 4);
    soft.add_gate_probs(&fixture.routing(), &fixture.labels());
    check_specialization(&fixture, "mi_soft", &soft.specialization());
    // Experts 0, 1 and 2 are first choices 4, 1 and 1 times; label 0 has three tokens, all with expert 0.
    check([hard.lift(0, ExpertIdx(0)), hard.lift(1, ExpertIdx(2))], &[3.0 * 6.0 / (3.0 * 4.0), 2.0]);
}

#[track_caller]
fn check_specialization(fixture: &Fixture, group: &str, found: &Specialization) {
    let keys = ["mi_nats", "H_expert", "H_label", "nmi", "uncertainty_coeff_label_given_expert"];
    let expected = keys.map(|key| fixture.number(&format!("/{group}/{key}")));
    let found = [found.information, found.expert_entropy, found.label_entropy, found.nmi, found.label_share_explained];
    check(found, &expected);
}
