//! Routings at the edges of what there is: one expert, no tokens, thousands and a million experts, values that are not
//! numbers. Every measure is defined, and memory grows with tokens × experts and never with experts².

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::analysis::LayerStats;
use moescope::routing::{
    AuxLossShare, CoActivation, ExpertIdx, LabelExpertTable, LayerRouting, Overflow, Priority, TopK, aux_loss, compare,
    expert_capacity, overflow,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Uniform gates; the experts of a token follow one another around the circle.
fn uniform(experts: usize, tokens: usize, top_k: usize) -> LayerRouting {
    let ids: Vec<i64> = (0..tokens * top_k).map(|at| ((at * 7) % experts) as i64).collect();
    let (gates, weights) = (vec![1.0 / experts as f32; tokens * experts], vec![1.0 / top_k as f32; tokens * top_k]);
    LayerRouting::new("layer", experts, TopK::new(top_k, experts).unwrap(), gates, &ids, weights).unwrap()
}

/// Every number in a JSON value is finite: serde writes the others as null.
fn assert_no_null(value: &Value, place: &str) {
    match value {
        Value::Null => panic!("{place} is not a finite number"),
        Value::Array(values) => values.iter().for_each(|value| assert_no_null(value, place)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| assert_no_null(value, &format!("{place}.{name}")));
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check(name: &str, routing: &LayerRouting) -> LayerStats {
    let stats = LayerStats::of(routing);
    assert_no_null(&serde_json::to_value(&stats.balance).unwrap(), name);
    assert_no_null(&serde_json::to_value(stats.information).unwrap(), name);
    assert_eq!(stats.balance.load.iter().sum::<u64>() as usize, routing.num_tokens() * routing.top_k(), "{name}");
    assert_eq!(stats.tokens.entropy.len(), routing.num_tokens(), "{name}");
    stats
}

#[test]
fn every_measure_is_defined_at_the_edges() {
    for (experts, tokens, top_k) in
        [(1, 0, 1), (1, 1, 1), (1, 196, 1), (2, 0, 2), (8, 1, 8), (4096, 196, 2), (4096, 0, 64), (1_000_000, 3, 8)]
    {
        let name = format!("{experts} experts, {tokens} tokens, top {top_k}");
        let (routing, started) = (uniform(experts, tokens, top_k), Instant::now());
        let stats = check(&name, &routing);
        for share in [AuxLossShare::TopOne, AuxLossShare::Assignments, AuxLossShare::Tokens] {
            assert!(aux_loss(&routing, share).is_finite(), "{name} {share:?}");
        }
        assert_eq!(stats.tokens.unnormalized, 0, "{name}");
        let ln = (experts as f32).ln();
        assert!(stats.tokens.entropy.iter().all(|entropy| (entropy - ln).abs() < 1e-3), "{name}");
        assert_eq!(compare(&routing, &routing).is_some(), tokens > 0, "{name}");
        let pairs = CoActivation::of(&routing);
        assert!(pairs.share_given(ExpertIdx(0), ExpertIdx(0)) <= 1.0, "{name}");
        let capacity = expert_capacity(tokens, top_k, experts, 1.25, 1);
        let dropped: Overflow = overflow(&routing, capacity, Priority::FirstCome);
        assert!(dropped.dropped.len() <= tokens * top_k, "{name}");
        let mut table = LabelExpertTable::new(2, experts);
        table.add_first_choices(&routing, &vec![1; tokens]);
        assert_no_null(&serde_json::to_value(table.specialization()).unwrap(), &name);
        assert!(started.elapsed() < Duration::from_secs(20), "{name}: {:?}", started.elapsed());
    }
}

#[test]
fn values_that_are_no_numbers_leave_every_measure_defined() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, -0.0, f32::MIN_POSITIVE];
    for a in odd {
        for b in odd {
            let top_k = TopK::new(1, 2).unwrap();
            let routing = LayerRouting::new("layer", 2, top_k, vec![a, b, 0.25, 0.75], &[0, 1], vec![b, 1.0]).unwrap();
            let stats = check(&format!("{a} {b}"), &routing);
            let odd_gates = [a, b].iter().filter(|value| !value.is_finite()).count();
            let odd_weights = usize::from(!b.is_finite());
            assert_eq!(stats.balance.non_finite as usize, odd_gates + odd_weights, "{a} {b}");
            assert_eq!(stats.tokens.non_finite, usize::from(odd_gates > 0), "{a} {b}");
        }
    }
}
