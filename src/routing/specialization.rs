//! Which experts go with which labels, and which with each other.
//!
//! Tokens of one image are not independent: a baseline for [`Specialization`] shuffles labels by image, not by token.

use super::gate::entropy_of;
use super::{ExpertIdx, LayerRouting, PatchIdx};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Joint weights of labels (rows) and experts (columns), gathered over any number of layers' worth of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelExpertTable {
    num_labels: usize,
    num_experts: usize,
    weights: Vec<f64>,
}

impl LabelExpertTable {
    /// An empty table.
    #[must_use]
    pub fn new(num_labels: usize, num_experts: usize) -> Self {
        Self { num_labels, num_experts, weights: vec![0.0; num_labels * num_experts] }
    }

    /// Adds weight to one cell. What lies outside of the table or is not a finite positive weight adds nothing.
    pub fn add(&mut self, label: usize, expert: ExpertIdx, weight: f64) {
        let expert = expert.0 as usize;
        if label < self.num_labels && expert < self.num_experts && weight.is_finite() && weight > 0.0 {
            self.weights[label * self.num_experts + expert] += weight;
        }
    }

    /// Adds 1 for the first choice of each token; `labels` `[T]` in token order.
    pub fn add_first_choices(&mut self, routing: &LayerRouting, labels: &[usize]) {
        for (patch, &label) in (0..routing.num_tokens()).map(PatchIdx).zip(labels) {
            if let Some(&first) = routing.experts_of(patch).first() {
                self.add(label, first, 1.0);
            }
        }
    }

    /// Adds the gate probabilities of each token; `labels` `[T]` in token order.
    pub fn add_gate_probs(&mut self, routing: &LayerRouting, labels: &[usize]) {
        for (patch, &label) in (0..routing.num_tokens()).map(PatchIdx).zip(labels) {
            for (expert, &p) in (0..).map(ExpertIdx).zip(routing.gate_probs_of(patch)) {
                self.add(label, expert, f64::from(p));
            }
        }
    }

    /// P(label, expert) / (P(label) · P(expert)): above 1 where the expert sees the label more often than by chance.
    /// 0 where either never occurs or is out of range.
    #[must_use]
    pub fn lift(&self, label: usize, expert: ExpertIdx) -> f64 {
        let column = expert.0 as usize;
        if label >= self.num_labels || column >= self.num_experts {
            return 0.0;
        }
        let joint = self.weights[label * self.num_experts + column];
        let expected = self.label_totals()[label] * self.expert_totals()[column];
        if expected > 0.0 { joint * self.weights.iter().sum::<f64>() / expected } else { 0.0 }
    }

    /// How much the expert tells about the label, over everything that was added.
    #[must_use]
    pub fn specialization(&self) -> Specialization {
        let total: f64 = self.weights.iter().sum();
        if total == 0.0 {
            return Specialization::default();
        }
        let entropy = |weights: &[f64]| entropy_of(weights.iter().map(|weight| weight / total));
        let (expert_entropy, label_entropy) = (entropy(&self.expert_totals()), entropy(&self.label_totals()));
        let information = (expert_entropy + label_entropy - entropy(&self.weights)).max(0.0);
        let ratio = |of: f64| if of > 0.0 { information / of } else { 0.0 };
        Specialization {
            information,
            expert_entropy,
            label_entropy,
            nmi: 2.0 * ratio(expert_entropy + label_entropy),
            label_share_explained: ratio(label_entropy),
        }
    }

    fn expert_totals(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.num_experts];
        for row in self.weights.chunks_exact(self.num_experts.max(1)) {
            totals.iter_mut().zip(row).for_each(|(total, weight)| *total += weight);
        }
        totals
    }

    fn label_totals(&self) -> Vec<f64> {
        self.weights.chunks_exact(self.num_experts.max(1)).map(|row| row.iter().sum()).collect()
    }
}

/// How much experts and labels tell about each other. Entropies and information in nats; all 0 for an empty table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Specialization {
    /// Mutual information I(label; expert).
    pub information: f64,
    /// H(expert).
    pub expert_entropy: f64,
    /// H(label).
    pub label_entropy: f64,
    /// Normalised mutual information 2 I / (H(label) + H(expert)), 0…1.
    pub nmi: f64,
    /// I / H(label), 0…1: the uncertainty coefficient of the label given the expert.
    pub label_share_explained: f64,
}

/// How often two experts are chosen for the same token. Kept sparsely: a layer of a million experts has few pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoActivation {
    counts: BTreeMap<(ExpertIdx, ExpertIdx), u64>,
}

impl CoActivation {
    /// Counts one layer.
    #[must_use]
    pub fn of(routing: &LayerRouting) -> Self {
        let mut counts = BTreeMap::new();
        for patch in (0..routing.num_tokens()).map(PatchIdx) {
            let set: BTreeSet<ExpertIdx> = routing.experts_of(patch).iter().copied().collect();
            for &a in &set {
                for &b in &set {
                    *counts.entry((a, b)).or_default() += 1;
                }
            }
        }
        Self { counts }
    }

    /// N_ab: tokens for which both were chosen; N_aa is the number of tokens of a.
    #[must_use]
    pub fn count(&self, a: ExpertIdx, b: ExpertIdx) -> u64 {
        self.counts.get(&(a, b)).copied().unwrap_or(0)
    }

    /// N_ab / N_a: of the tokens of a, the share that also went to b; 0 where a has none.
    #[must_use]
    pub fn share_given(&self, a: ExpertIdx, b: ExpertIdx) -> f64 {
        self.count(a, b) as f64 / self.count(a, a).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expert_for_each_label_explains_all_of_it() {
        let mut table = LabelExpertTable::new(2, 3);
        for _ in 0..5 {
            table.add(0, ExpertIdx(2), 1.0);
            table.add(1, ExpertIdx(0), 1.0);
        }
        let found = table.specialization();
        assert!((found.nmi - 1.0).abs() < 1e-12 && (found.information - 2f64.ln()).abs() < 1e-12);
        assert_eq!(
            (table.lift(0, ExpertIdx(2)), table.lift(1, ExpertIdx(2)), table.lift(0, ExpertIdx(1))),
            (2.0, 0.0, 0.0)
        );
    }

    #[test]
    fn independent_labels_and_empty_tables_tell_nothing() {
        assert_eq!(LabelExpertTable::new(0, 0).specialization(), Specialization::default());
        let mut table = LabelExpertTable::new(2, 2);
        table.add(9, ExpertIdx(0), 1.0);
        table.add(0, ExpertIdx(9), 1.0);
        table.add(0, ExpertIdx(0), f64::NAN);
        assert_eq!(table.specialization(), Specialization::default());
        for (label, expert) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            table.add(label, ExpertIdx(expert), 1.0);
        }
        assert!(table.specialization().nmi.abs() < 1e-12);
        assert_eq!((table.lift(0, ExpertIdx(1)), table.lift(7, ExpertIdx(0))), (1.0, 0.0));
    }
}
