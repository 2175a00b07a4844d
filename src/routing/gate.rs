//! Measures of one gate vector: how a router's probabilities over E experts are spread.
//!
//! Sums run in 64-bit floats: with thousands of experts a 32-bit sum loses the digits that the reports print. A row
//! with a value that is not finite has no entropy or margin; it gives NaN, and [`TokenMeasures::non_finite`] counts it.

use super::LayerRouting;

/// Probabilities exp(l) / Σ exp(l) of `logits`. Logits of −∞ give 0; a NaN or +∞ makes every probability NaN.
#[must_use]
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let norm = log_sum_exp(logits);
    logits.iter().map(|&logit| (f64::from(logit) - norm).exp() as f32).collect()
}

/// ln Σ exp(l), without overflow; −∞ for an empty slice.
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        // Empty, all −∞, or all NaN (which `f32::max` skips).
        return if logits.iter().any(|logit| logit.is_nan()) { f64::NAN } else { f64::NEG_INFINITY };
    }
    let max = f64::from(max);
    max + logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum::<f64>().ln()
}

/// The router z-loss of ST-MoE, mean over tokens of (ln Σ exp(l))², from gate logits [T, E]; 0 for no tokens.
#[must_use]
pub fn z_loss(gate_logits: &[f32], num_experts: usize) -> f64 {
    mean(gate_logits.chunks_exact(num_experts.max(1)).map(|logits| log_sum_exp(logits).powi(2)))
}

/// Entropy −Σ p ln p in nats, between 0 (one expert takes all) and ln E (uniform); 0 · ln 0 counts as 0. NaN when a
/// value is not finite.
#[must_use]
pub fn entropy(probs: &[f32]) -> f64 {
    entropy_of(probs.iter().map(|&p| f64::from(p)))
}

/// p_(k) − p_(k+1): how far the last chosen expert is ahead of the first one left out, in probability. Where none is
/// left out (k ≥ E) the missing one counts as 0. NaN when a value is not finite, 0 for no experts or k = 0.
#[must_use]
pub fn margin(probs: &[f32], top_k: usize) -> f32 {
    if probs.iter().any(|p| !p.is_finite()) {
        return f32::NAN;
    }
    let Some(last) = top_k.min(probs.len()).checked_sub(1) else { return 0.0 };
    let mut sorted = probs.to_vec();
    let (_, &mut chosen, left_out) = sorted.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
    chosen - left_out.iter().copied().fold(0.0, f32::max)
}

/// Indices of the `count` largest values, the largest first; ties by the lower index, NaN after every number.
#[must_use]
pub fn top_indices(values: &[f32], count: usize) -> Vec<usize> {
    let best_first = |&a: &usize, &b: &usize| {
        let (a_value, b_value) = (values[a], values[b]);
        // Adding zero folds −0 into 0, which `total_cmp` would tell apart.
        a_value.is_nan().cmp(&b_value.is_nan()).then((b_value + 0.0).total_cmp(&(a_value + 0.0))).then(a.cmp(&b))
    };
    let mut indices: Vec<usize> = (0..values.len()).collect();
    if count < indices.len() && count > 0 {
        indices.select_nth_unstable_by(count - 1, best_first);
    }
    indices.truncate(count);
    indices.sort_unstable_by(best_first);
    indices
}

/// Per-token measures of one layer, each `[T]` in token (row-major patch) order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenMeasures {
    /// Gate entropy in nats, 0…ln E; NaN where the token's gates are not all finite.
    pub entropy: Vec<f32>,
    /// [`margin`] at the layer's k, 0…1; NaN where the token's gates are not all finite.
    pub margin: Vec<f32>,
    /// Number of tokens with a gate that is NaN or infinite.
    pub non_finite: usize,
    /// Number of tokens whose gates are finite, but no probabilities: one is negative, or they do not sum to 1. Some
    /// routers have such gates by design (a sigmoid for each expert).
    pub unnormalized: usize,
}

impl TokenMeasures {
    /// Measures every token of a layer.
    #[must_use]
    pub fn of(routing: &LayerRouting) -> Self {
        let mut measures = Self::default();
        if !routing.has_gate_probs() {
            let unknown = vec![f32::NAN; routing.num_tokens()];
            return Self { entropy: unknown.clone(), margin: unknown, ..measures };
        }
        for probs in routing.gate_probs().chunks_exact(routing.num_experts()) {
            // Gates near the largest float have entropies beyond it.
            let entropy = (entropy(probs) as f32).clamp(f32::MIN, f32::MAX);
            measures.non_finite += usize::from(entropy.is_nan());
            measures.unnormalized += usize::from(!entropy.is_nan() && !is_distribution(probs));
            measures.entropy.push(entropy);
            measures.margin.push(margin(probs, routing.top_k()));
        }
        measures
    }

    /// Mean gate entropy in nats over the tokens with finite gates (LIMoE's local entropy); 0 if there are none.
    #[must_use]
    pub fn mean_entropy(&self) -> f64 {
        mean(self.entropy.iter().filter(|entropy| !entropy.is_nan()).map(|&entropy| f64::from(entropy)))
    }
}

/// Half-precision gates of many experts sum to 1 within this.
const SUM_TOLERANCE: f64 = 0.01;

fn is_distribution(probs: &[f32]) -> bool {
    let sum: f64 = probs.iter().map(|&p| f64::from(p)).sum();
    (sum - 1.0).abs() <= SUM_TOLERANCE && probs.iter().all(|&p| p >= 0.0)
}

/// Entropy in nats of values that sum to 1; 0 · ln 0 counts as 0, a value that is not finite makes it NaN.
pub(super) fn entropy_of(shares: impl Iterator<Item = f64>) -> f64 {
    let negative: f64 = shares
        .map(|p| match p {
            p if !p.is_finite() => f64::NAN,
            p if p > 0.0 => p * p.ln(),
            _ => 0.0,
        })
        .sum();
    // `-0.0` would print a minus sign.
    if negative == 0.0 { 0.0 } else { -negative }
}

/// Arithmetic mean; 0 for no values.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_keeps_to_the_definition_at_the_edges() {
        assert_eq!(softmax(&[]), Vec::<f32>::new());
        assert_eq!(softmax(&[3.0e38]), [1.0]);
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(softmax(&[0.0, f32::NEG_INFINITY]), [1.0, 0.0]);
        assert!(softmax(&[0.0, f32::NAN]).iter().all(|p| p.is_nan()));
        assert!(softmax(&[f32::NAN, f32::NAN]).iter().all(|p| p.is_nan()));
        assert!(softmax(&[0.0, f32::INFINITY])[1].is_nan());
    }

    #[test]
    fn entropy_is_defined_for_every_row() {
        for (probs, expected) in
            [(&[][..], 0.0), (&[1.0], 0.0), (&[1.0, 0.0], 0.0), (&[0.5, 0.5], 2f64.ln()), (&[0.25; 4], 4f64.ln())]
        {
            assert!((entropy(probs) - expected).abs() < 1e-12, "{probs:?}");
        }
        assert!(entropy(&[0.5, f32::NAN]).is_nan());
        assert!(entropy(&[f32::INFINITY, 0.0]).is_nan());
        let many = vec![1.0 / 4096.0; 4096];
        assert!((entropy(&many) - 4096f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn margin_is_between_the_last_kept_and_the_first_left_out() {
        for (probs, top_k, expected) in [
            (&[0.5, 0.25, 0.25][..], 1, 0.25),
            (&[0.25, 0.5, 0.25], 2, 0.0),
            (&[0.125, 0.625, 0.25], 2, 0.125),
            (&[0.125, 0.625, 0.25], 3, 0.125),
            (&[1.0], 1, 1.0),
            (&[], 1, 0.0),
            (&[1.0], 0, 0.0),
        ] {
            assert_eq!(margin(probs, top_k), expected, "{probs:?} k = {top_k}");
        }
        assert!(margin(&[f32::NAN, 1.0], 1).is_nan());
    }

    #[test]
    fn tokens_whose_gates_are_no_probabilities_are_counted() {
        let half = f32::from(half::f16::from_f32(1.0 / 4096.0));
        for (row, non_finite, unnormalized) in [
            (&[0.25, 0.75][..], 0, 0),
            (&[half; 4096], 0, 0),
            (&[0.992, 0.0], 0, 0),
            (&[0.98, 0.0], 0, 1),
            (&[0.9, 0.9], 0, 1),
            (&[1.5, -0.5], 0, 1),
            (&[0.0, 0.0], 0, 1),
            (&[f32::NAN, 1.0], 1, 0),
            (&[f32::INFINITY, 1.0], 1, 0),
        ] {
            let top_k = crate::routing::TopK::new(1, row.len()).unwrap();
            let routing = LayerRouting::new("l", row.len(), top_k, row.to_vec(), &[0], vec![1.0]).unwrap();
            let measures = TokenMeasures::of(&routing);
            assert_eq!((measures.non_finite, measures.unnormalized), (non_finite, unnormalized), "{row:?}");
        }
    }

    #[test]
    fn top_indices_break_ties_by_the_lower_index_and_put_nan_last() {
        let nan = f32::NAN;
        for (values, count, expected) in [
            (&[1.0, 3.0, 3.0, 2.0][..], 3, &[1, 2, 3][..]),
            (&[nan, 1.0, nan, 2.0], 3, &[3, 1, 0]),
            (&[-0.0, 0.0], 2, &[0, 1]),
            (&[f32::NEG_INFINITY, nan], 5, &[0, 1]),
            (&[1.0], 0, &[]),
            (&[], 5, &[]),
        ] {
            assert_eq!(top_indices(values, count), expected, "{values:?}");
        }
    }
}
