//! Two routings of the same tokens by the same router, such as one image at two settings of top-k: what changed?

use super::{ExpertIdx, LayerRouting, PatchIdx};
use serde::Serialize;

/// How far two routings of one layer differ; each figure is a mean over the T tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RoutingComparison {
    /// Share of tokens whose SET of experts differs, whatever the order. With different k that is every token.
    pub changed_share: f64,
    /// The same for the first min(k, k′) ranks only: what changed beyond experts merely being added or dropped.
    pub common_ranks_changed_share: f64,
    /// Share of tokens whose first choice differs.
    pub first_choice_changed_share: f64,
    /// Mean |S ∩ S′| / |S ∪ S′|.
    pub mean_jaccard: f64,
    /// Mean |S ∩ S′| / min(|S|, |S′|): how much of the smaller choice the larger one holds.
    pub mean_agreement: f64,
    /// Number of tokens compared.
    pub tokens: usize,
}

/// Compares two routings of one layer; `None` unless both have the same numbers of tokens and experts, and at least
/// one token. Their k may differ.
#[must_use]
pub fn compare(a: &LayerRouting, b: &LayerRouting) -> Option<RoutingComparison> {
    let tokens = a.num_tokens();
    if tokens == 0 || tokens != b.num_tokens() || a.num_experts() != b.num_experts() {
        return None;
    }
    let (mut changed, mut common_ranks_changed, mut first_changed) = (0_usize, 0_usize, 0_usize);
    let (mut jaccard, mut agreement) = (0.0, 0.0);
    let common_ranks = a.top_k().min(b.top_k());
    for patch in (0..tokens).map(PatchIdx) {
        let (set_a, set_b) = (expert_set(a.experts_of(patch)), expert_set(b.experts_of(patch)));
        let common = set_a.iter().filter(|expert| set_b.binary_search(expert).is_ok()).count();
        let union = set_a.len() + set_b.len() - common;
        changed += usize::from(common < union);
        let first = |layer: &LayerRouting| {
            let experts = layer.experts_of(patch);
            expert_set(&experts[..common_ranks.min(experts.len())])
        };
        common_ranks_changed += usize::from(first(a) != first(b));
        first_changed += usize::from(a.experts_of(patch).first() != b.experts_of(patch).first());
        // Two tokens without experts agree.
        let share =
            |part: usize, whole: usize| if whole == 0 { f64::from(union == 0) } else { part as f64 / whole as f64 };
        jaccard += share(common, union);
        agreement += share(common, set_a.len().min(set_b.len()));
    }
    let tokens_f64 = tokens as f64;
    Some(RoutingComparison {
        changed_share: changed as f64 / tokens_f64,
        common_ranks_changed_share: common_ranks_changed as f64 / tokens_f64,
        first_choice_changed_share: first_changed as f64 / tokens_f64,
        mean_jaccard: jaccard / tokens_f64,
        mean_agreement: agreement / tokens_f64,
        tokens,
    })
}

/// The distinct experts in rising order. A model may name one twice (two heads that agree).
fn expert_set(experts: &[ExpertIdx]) -> Vec<ExpertIdx> {
    let mut set = experts.to_vec();
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::TopK;

    fn routing(top_k: usize, ids: &[i64]) -> LayerRouting {
        let tokens = ids.len() / top_k;
        let k = TopK::new(top_k, 4).unwrap();
        LayerRouting::new("l", 4, k, vec![0.25; tokens * 4], ids, vec![0.5; ids.len()]).unwrap()
    }

    fn check(a: (usize, &[i64]), b: (usize, &[i64]), expected: [f64; 4]) {
        let found = compare(&routing(a.0, a.1), &routing(b.0, b.1)).unwrap();
        let figures = [found.changed_share, found.first_choice_changed_share, found.mean_jaccard, found.mean_agreement];
        for (figure, expected) in figures.iter().zip(expected) {
            assert!((figure - expected).abs() < 1e-12, "{a:?} {b:?}: {figures:?}");
        }
    }

    #[test]
    fn sets_are_compared_not_orders() {
        check((2, &[0, 1, 2, 3]), (2, &[0, 1, 2, 3]), [0.0, 0.0, 1.0, 1.0]);
        check((2, &[0, 1, 2, 3]), (2, &[1, 0, 2, 3]), [0.0, 0.5, 1.0, 1.0]);
        check((2, &[0, 1, 2, 3]), (2, &[0, 2, 0, 1]), [1.0, 0.5, (1.0 / 3.0 + 0.0) / 2.0, 0.25]);
    }

    #[test]
    fn top_k_may_differ() {
        check((1, &[0, 2]), (2, &[0, 1, 1, 3]), [1.0, 0.5, 0.25, 0.5]);
        check((4, &[0, 1, 2, 3]), (1, &[2]), [1.0, 1.0, 0.25, 1.0]);
        check((2, &[0, 0]), (1, &[0]), [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn only_the_ranks_that_both_have_count_as_a_changed_choice() {
        let cases: &[(&[i64], &[i64], f64)] =
            &[(&[0, 2], &[0, 1, 1, 2], 0.5), (&[0, 2], &[0, 1, 2, 0], 0.0), (&[1], &[0, 1], 1.0)];
        for (one, two, expected) in cases {
            let found = compare(&routing(1, one), &routing(2, two)).unwrap();
            assert_eq!(found.common_ranks_changed_share, *expected, "{one:?} {two:?}");
        }
        let (a, b) = (routing(2, &[0, 1]), routing(2, &[1, 0]));
        assert_eq!(compare(&a, &b).unwrap().common_ranks_changed_share, 0.0, "two ranks are one set");
    }

    #[test]
    fn nothing_to_compare_is_none() {
        assert_eq!(compare(&routing(1, &[]), &routing(1, &[])), None);
        assert_eq!(compare(&routing(1, &[0]), &routing(1, &[0, 1])), None);
    }
}
