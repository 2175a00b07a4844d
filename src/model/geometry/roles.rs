//! What routers over the same experts are to each other: gates of several tasks, or iterations of one layer.

use crate::model::graph::{FastSet, ModelGraph, NodeId, ValueId};
use crate::model::routers::RouterReport;
use std::collections::BTreeMap;

/// What a router is among those that share its experts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Role {
    pub task: Option<String>,
    pub iteration: Option<usize>,
}

/// The roles of all routers; `logits` gives a router's gate logits.
pub(super) fn roles(
    graph: &ModelGraph<'_>,
    report: &RouterReport,
    logits: impl Fn(usize) -> Option<ValueId>,
) -> Vec<Role> {
    let names: Vec<&str> = report.routers.iter().map(|router| router.name.as_str()).collect();
    // The same set, or at least the same first weight: scalars of an expert's formula may stand behind it, and differ.
    let mut sets: BTreeMap<&str, usize> = BTreeMap::new();
    let experts = report.routers.iter().map(|router| {
        let weight = router.experts.weights.first().and_then(|weights| weights.first());
        let set = weight.map_or(router.experts.set, |weight| *sets.entry(weight).or_insert(router.experts.set));
        (set, router.num_experts)
    });
    let experts: Vec<(usize, usize)> = experts.collect();
    let gate = |index: usize| logits(index).and_then(|logits| graph.producer(logits));
    // Gates that are not found may be anywhere; those of a loop are one and the same.
    let follows = |later: usize, earlier: usize| match (gate(later), gate(earlier)) {
        (Some(later), Some(earlier)) if later != earlier => depends(graph, later, earlier),
        _ => true,
    };
    roles_of(&names, &experts, follows)
}

/// Whether a node depends on an earlier one.
fn depends(graph: &ModelGraph<'_>, later: NodeId, earlier: NodeId) -> bool {
    let (mut stack, mut seen) = (vec![later], FastSet::default());
    while let Some(id) = stack.pop() {
        if id == earlier {
            return true;
        }
        if id > earlier && seen.insert(id) {
            stack.extend(graph.data_inputs(graph.node(id)).filter_map(|input| graph.producer(input)));
        }
    }
    false
}

/// From the routers' names, and the set and the number of their experts each: an outer router over groups of the same
/// experts chooses among fewer.
/// A gate is another iteration only if it `follows` the one before; gates side by side are those of several tasks (Ma et
/// al. 2018: MMoE), whose names are not known.
fn roles_of(names: &[&str], experts: &[(usize, usize)], follows: impl Fn(usize, usize) -> bool) -> Vec<Role> {
    let mut by_experts: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (index, experts) in experts.iter().enumerate() {
        by_experts.entry(*experts).or_default().push(index);
    }
    let mut roles = vec![Role::default(); names.len()];
    for group in by_experts.into_values().filter(|group| group.len() > 1) {
        let words = differing(&group.iter().map(|&index| names[index]).collect::<Vec<_>>());
        for (n, &index) in group.iter().enumerate() {
            match &words {
                Some(words) => roles[index].task = Some(words[n].to_owned()),
                None if group.windows(2).all(|pair| follows(pair[1], pair[0])) => roles[index].iteration = Some(n),
                None => {}
            }
        }
    }
    // An exporter may write shared weights once for each use; then only names tell.
    let mut by_name: BTreeMap<String, Vec<(usize, &str)>> = BTreeMap::new();
    for (index, name) in names.iter().enumerate().filter(|&(index, _)| roles[index] == Role::default()) {
        if let Some((others, word)) = word_of_a_set(name) {
            by_name.entry(others).or_default().push((index, word));
        }
    }
    for group in by_name.into_values().filter(|group| group.len() > 1) {
        for (index, word) in group {
            roles[index].task = Some(word.to_owned());
        }
    }
    roles
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|letter| letter.is_alphabetic() || letter == '_')
}

/// The parts in which names differ, if those are words, each its own.
fn differing<'a>(names: &[&'a str]) -> Option<Vec<&'a str>> {
    let parts: Vec<Vec<&str>> = names.iter().map(|name| name.split('.').collect()).collect();
    let shortest = parts.iter().map(Vec::len).min()?;
    let at = (0..shortest).find(|&at| parts.iter().any(|name| name[at] != parts[0][at]))?;
    let words: Vec<&str> = parts.iter().map(|name| name[at]).collect();
    let are_words = words.iter().enumerate().all(|(n, word)| is_word(word) && !words[..n].contains(word));
    are_words.then_some(words)
}

/// The word by which a router is known among several in one place, as in `mlp.routers.depth.gate`, and the name without
/// it.
fn word_of_a_set(name: &str) -> Option<(String, &str)> {
    let parts: Vec<&str> = name.split('.').collect();
    let at = (1..parts.len()).find(|&at| {
        let is_set = ["routers", "gates", "tasks"].contains(&parts[at - 1].to_lowercase().as_str());
        is_set && is_word(parts[at])
    })?;
    Some(([&parts[..at], &parts[at + 1..]].concat().join("."), parts[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_over_the_same_experts_are_tasks_or_iterations() {
        let task = |word: &str| Role { task: Some(word.into()), iteration: None };
        let iteration = |n| Role { task: None, iteration: Some(n) };
        let none = Role::default;
        type Experts = [(usize, usize)];
        let cases: [(&[&str], &Experts, &[Role]); 7] = [
            (&["a.depth.gate", "a.class.gate"], &[(0, 4), (0, 4)], &[task("depth"), task("class")]),
            (&["a.0.gate", "a.1.gate"], &[(0, 4), (0, 4)], &[iteration(0), iteration(1)]),
            (&["a.gate", "a.gate (2)"], &[(0, 4), (0, 4)], &[iteration(0), iteration(1)]),
            (&["a.mlp.gate", "a.attention.gate"], &[(1, 4), (0, 4)], &[none(), none()]),
            (&["a.outer.gate", "a.inner.0.gate"], &[(0, 2), (0, 4)], &[none(), none()]),
            (&["a.routers.depth.gate", "a.routers.class.gate"], &[(1, 4), (0, 4)], &[task("depth"), task("class")]),
            (&["0.routers.depth.gate", "1.routers.class.gate"], &[(0, 4), (1, 4)], &[none(), none()]),
        ];
        for (names, experts, expected) in cases {
            assert_eq!(roles_of(names, experts, |_, _| true), expected, "{names:?}");
        }
        let side_by_side = roles_of(&["gates.0", "gates.1"], &[(0, 4), (0, 4)], |_, _| false);
        assert_eq!(side_by_side, [none(), none()]);
    }
}
