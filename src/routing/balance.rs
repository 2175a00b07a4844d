//! How evenly a layer's experts are used. Three quantities are easily confused, so each has its own field: load counts
//! assignments, importance sums gate probabilities over all experts, gate mass sums the applied combine weights.

use super::gate::{entropy_of, mean};
use super::{LayerRouting, PatchIdx, TokenMeasures};
use serde::Serialize;

/// Use of the experts of one layer by the tokens of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerBalance {
    /// Number of assignments of each expert, `[E]`; they sum to T · k where every token has k experts.
    pub load: Vec<u64>,
    /// Σ over tokens of the gate probability, `[E]` (Shazeer 2017); values that are not finite are left out.
    pub importance: Vec<f64>,
    /// Σ over tokens of the combine weight that was applied, `[E]`; values that are not finite are left out.
    pub gate_mass: Vec<f64>,
    /// Measures of [`load`](Self::load).
    pub load_stats: LoadStats,
    /// Measures of [`importance`](Self::importance).
    pub importance_stats: LoadStats,
    /// Number of gate probabilities and combine weights that are NaN or infinite.
    pub non_finite: u64,
    /// Number of assignments with a combine weight of exactly 0: chosen, but without a say, as when an expert is full.
    pub dropped: u64,
    /// Number of tokens that no expert handled: without an assignment, or with dropped ones only.
    pub unserved_tokens: u64,
}

impl LayerBalance {
    /// Counts and measures one layer.
    #[must_use]
    pub fn of(routing: &LayerRouting) -> Self {
        let num_experts = routing.num_experts();
        let (mut load, mut non_finite) = (vec![0_u64; num_experts], 0);
        let (mut importance, mut gate_mass) = (vec![0.0; num_experts], vec![0.0; num_experts]);
        let mut add = |sum: &mut f64, value: f32| {
            if value.is_finite() {
                *sum += f64::from(value);
            } else {
                non_finite += 1;
            }
        };
        for probs in routing.gate_probs().chunks_exact(num_experts) {
            importance.iter_mut().zip(probs).for_each(|(sum, &p)| add(sum, p));
        }
        for (expert, weight) in routing.assignments() {
            load[expert.0 as usize] += 1;
            add(&mut gate_mass[expert.0 as usize], weight);
        }
        let dropped = routing.assignments().filter(|&(_, weight)| weight == 0.0).count() as u64;
        let unserved = |&patch: &PatchIdx| routing.weights_of(patch).iter().all(|&weight| weight == 0.0);
        let unserved_tokens = routing.patches().filter(unserved).count() as u64;
        let counts: Vec<f64> = load.iter().map(|&count| count as f64).collect();
        let (load_stats, importance_stats) = (LoadStats::of(&counts), LoadStats::of(&importance));
        Self { load, importance, gate_mass, load_stats, importance_stats, non_finite, dropped, unserved_tokens }
    }
}

/// How unevenly a total is spread over E experts. Defined for one expert, and for a total of 0 (where nothing is uneven
/// and no expert is in effect).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LoadStats {
    /// Coefficient of variation, standard deviation (divided by E) over mean; 0 when uniform.
    pub cv: f64,
    /// CV², the importance loss as V-MoE writes it (variance divided by E).
    pub cv_squared: f64,
    /// CV² with the variance divided by E − 1, as Tutel writes it; 0 for one expert.
    pub cv_squared_unbiased: f64,
    /// Largest over mean; 1 when uniform, E when one expert takes all.
    pub max_over_mean: f64,
    /// Largest over mean, − 1 (DeepSeek's `MaxVio`).
    pub max_violation: f64,
    /// Entropy of the shares in nats.
    pub entropy_nats: f64,
    /// Entropy over ln E, 0…1; 1 for one expert.
    pub entropy_normalized: f64,
    /// e^entropy, the number of experts in effect: E when uniform, 1 when one takes all.
    pub effective_experts: f64,
    /// 1 / Σ share² (inverse Simpson index): the same question, with less weight on rare experts.
    pub effective_experts_simpson: f64,
    /// Gini coefficient, 0 when uniform, (E − 1)/E when one expert takes all.
    pub gini: f64,
    /// Gini · E/(E − 1), 0…1; 0 for one expert.
    pub gini_normalized: f64,
    /// Kullback–Leibler divergence of the shares from uniform in nats, ln E − entropy.
    pub kl_to_uniform: f64,
    /// Number of experts with a value of 0.
    pub dead: usize,
}

impl LoadStats {
    /// Measures `values` `[E]`, each finite and at least 0.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let num_experts = values.len() as f64;
        let total: f64 = values.iter().sum();
        let dead = values.iter().filter(|&&value| value == 0.0).count();
        if total <= 0.0 {
            return Self { dead, ..Self::default() };
        }
        let average = total / num_experts;
        let cv_squared = mean(values.iter().map(|value| (value / average - 1.0).powi(2)));
        let per_free_expert = |value: f64| if num_experts > 1.0 { value / (num_experts - 1.0) } else { 0.0 };
        let max_over_mean = values.iter().copied().fold(0.0, f64::max) / average;
        let shares = || values.iter().map(|value| value / total);
        let entropy_nats = entropy_of(shares());
        let gini = gini(values, total);
        Self {
            cv: cv_squared.sqrt(),
            cv_squared,
            cv_squared_unbiased: per_free_expert(cv_squared * num_experts),
            max_over_mean,
            max_violation: max_over_mean - 1.0,
            entropy_nats,
            entropy_normalized: if num_experts > 1.0 { entropy_nats / num_experts.ln() } else { 1.0 },
            effective_experts: entropy_nats.exp(),
            effective_experts_simpson: 1.0 / shares().map(|share| share * share).sum::<f64>(),
            gini,
            gini_normalized: per_free_expert(gini * num_experts),
            kl_to_uniform: (num_experts.ln() - entropy_nats).max(0.0),
            dead,
        }
    }
}

/// Σ_i (2i − E − 1) x_i / (E Σ x) over the values in rising order, i from 1.
fn gini(values: &[f64], total: f64) -> f64 {
    let mut rising = values.to_vec();
    rising.sort_unstable_by(f64::total_cmp);
    let num_experts = rising.len() as f64;
    let weighted: f64 = rising.iter().zip(1..).map(|(x, i)| (2.0 * f64::from(i) - num_experts - 1.0) * x).sum();
    weighted / (num_experts * total)
}

/// Which share f_e of the tokens the auxiliary loss E · Σ f_e · P_e multiplies with the mean gate probability P_e. The
/// conventions differ by a factor of up to k, so a report names the one it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuxLossShare {
    /// Share of tokens whose first choice is e (Switch, GShard).
    TopOne,
    /// Share of the T · k assignments; the f_e sum to 1.
    Assignments,
    /// Assignments over tokens; the f_e sum to k.
    Tokens,
}

/// The load-balancing loss E · Σ f_e · P_e (Switch Transformers, eq. 4), P_e from the full softmax: 1 when uniform (k
/// for [`AuxLossShare::Tokens`]); 0 for no tokens, NaN when a gate is.
#[must_use]
pub fn aux_loss(routing: &LayerRouting, share: AuxLossShare) -> f64 {
    let num_experts = routing.num_experts();
    let tokens = routing.num_tokens() as f64;
    if tokens == 0.0 {
        return 0.0;
    }
    let mut mean_probs = vec![0.0; num_experts];
    for probs in routing.gate_probs().chunks_exact(num_experts) {
        mean_probs.iter_mut().zip(probs).for_each(|(sum, &p)| *sum += f64::from(p) / tokens);
    }
    let (ranks, weight) = match share {
        AuxLossShare::TopOne => (1, 1.0 / tokens),
        AuxLossShare::Assignments => (usize::MAX, 1.0 / routing.assignments().count() as f64),
        AuxLossShare::Tokens => (usize::MAX, 1.0 / tokens),
    };
    let chosen = routing.patches().flat_map(|patch| routing.experts_of(patch).iter().take(ranks));
    num_experts as f64 * chosen.map(|expert| mean_probs[expert.0 as usize] * weight).sum::<f64>()
}

/// Entropy in nats of the mean gate vector (LIMoE's global entropy) and its excess over the mean entropy of the tokens,
/// which is the information I(token; expert).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GateInformation {
    /// Mean over tokens of the gate entropy, in nats.
    pub mean_token_entropy: f64,
    /// Entropy of the mean gate vector, in nats.
    pub entropy_of_mean: f64,
    /// Their difference, in nats: 0 when every token's gates are alike.
    pub token_expert_information: f64,
}

impl GateInformation {
    /// From what was counted of one layer.
    #[must_use]
    pub fn of(balance: &LayerBalance, tokens: &TokenMeasures) -> Self {
        let mean_token_entropy = tokens.mean_entropy();
        let entropy_of_mean = balance.importance_stats.entropy_nats;
        let token_expert_information = (entropy_of_mean - mean_token_entropy).max(0.0);
        Self { mean_token_entropy, entropy_of_mean, token_expert_information }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TopK;

    fn all_finite(stats: &LoadStats) -> bool {
        let json = serde_json::to_value(stats).unwrap();
        json.as_object().unwrap().values().all(|value| value.as_f64().is_some_and(f64::is_finite))
    }

    #[test]
    fn stats_are_defined_at_the_edges() {
        let none = LoadStats::of(&[]);
        assert_eq!(none, LoadStats::default());
        let zero = LoadStats::of(&[0.0; 3]);
        assert_eq!((zero.dead, zero.effective_experts, zero.cv), (3, 0.0, 0.0));
        let one = LoadStats::of(&[7.0]);
        assert_eq!((one.cv, one.max_over_mean, one.entropy_normalized, one.effective_experts), (0.0, 1.0, 1.0, 1.0));
        let taken = LoadStats::of(&[0.0, 8.0, 0.0, 0.0]);
        assert_eq!((taken.dead, taken.max_over_mean, taken.gini, taken.gini_normalized), (3, 4.0, 0.75, 1.0));
        assert_eq!((taken.effective_experts, taken.entropy_nats, taken.cv_squared_unbiased), (1.0, 0.0, 4.0));
        let many = LoadStats::of(&vec![3.0; 4096]);
        assert!((many.effective_experts - 4096.0).abs() < 1e-6 && many.cv == 0.0 && many.kl_to_uniform < 1e-9);
        assert!([none, zero, one, taken, many].iter().all(all_finite));
    }

    #[test]
    fn values_that_are_not_finite_are_counted_and_left_out() {
        let gates = vec![f32::NAN, 1.0, 0.25, 0.75];
        let top_k = TopK::new(1, 2).unwrap();
        let routing = LayerRouting::new("l", 2, top_k, gates, &[1, 1], vec![1.0, f32::INFINITY]).unwrap();
        let balance = LayerBalance::of(&routing);
        assert_eq!((balance.non_finite, balance.load.as_slice()), (2, &[0, 2][..]));
        assert_eq!((balance.importance.as_slice(), balance.gate_mass.as_slice()), (&[0.25, 1.75][..], &[0.0, 1.0][..]));
        assert!(all_finite(&balance.load_stats) && all_finite(&balance.importance_stats));
        assert_eq!(TokenMeasures::of(&routing).non_finite, 1);
    }

    #[test]
    fn no_tokens_and_one_expert_are_defined() {
        let empty = LayerRouting::new("l", 8, TopK::new(2, 8).unwrap(), vec![], &[], vec![]).unwrap();
        let balance = LayerBalance::of(&empty);
        assert_eq!((balance.load_stats.dead, aux_loss(&empty, AuxLossShare::TopOne)), (8, 0.0));
        let single = LayerRouting::new("l", 1, TopK::new(1, 1).unwrap(), vec![1.0; 3], &[0; 3], vec![1.0; 3]).unwrap();
        let (balance, tokens) = (LayerBalance::of(&single), TokenMeasures::of(&single));
        assert_eq!((balance.load[0], aux_loss(&single, AuxLossShare::Tokens)), (3, 1.0));
        assert_eq!(GateInformation::of(&balance, &tokens), GateInformation::default());
    }
}
