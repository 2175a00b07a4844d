//! Which tokens a fixed rule gives to an expert, as far as the graph says it.

use crate::model::graph::{ModelGraph, Node, NodeId, Source, ValueId};
use crate::model::routers::names::tensor_ref;
use crate::model::routers::report::{FixedExpert, FixedRule, Takes};
use crate::model::routers::scores::is_passive;

/// Nodes between an index and what it was made of.
const MAX_STEPS: usize = 64;

/// What a node picks, whose output `picked` is.
pub(super) fn by(graph: &ModelGraph<'_>, picks: NodeId, picked: Option<ValueId>) -> Takes {
    let node = graph.node(picks);
    match node.op {
        "Slice" => sliced(graph, node).unwrap_or(Takes::Computed { tensor: None }),
        "Split" => {
            let part = picked.and_then(|picked| by_split(graph, node, picked));
            part.unwrap_or(Takes::Computed { tensor: None })
        }
        _ => node.input(1).map_or(Takes::Computed { tensor: None }, |index| by_index(graph, index)),
    }
}

/// The part of a `Split` that `output` is.
fn by_split(graph: &ModelGraph<'_>, node: &Node<'_>, output: ValueId) -> Option<Takes> {
    let shape = graph.shape(node.input(0)?)?;
    let axis = graph.axis(node, 0, shape.len())?;
    let sizes = node.outputs.iter().map(|&part| graph.shape(part)?.get(axis).copied().filter(|&size| size >= 0));
    let sizes: Vec<i64> = sizes.collect::<Option<_>>()?;
    let at = node.outputs.iter().position(|&part| part == output)?;
    let start = sizes[..at].iter().sum();
    Some(Takes::Range { start, end: start + sizes[at] })
}

fn sliced(graph: &ModelGraph<'_>, node: &Node<'_>) -> Option<Takes> {
    let int = |index: usize| node.input(index).and_then(|value| graph.const_int(value));
    let shape = graph.shape(node.input(0)?)?;
    let axis = int(3).unwrap_or(0);
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
    let whole = shape.get(axis).copied().filter(|&size| size >= 0);
    let place = |at: i64| match whole {
        Some(whole) => Some(if at < 0 { at + whole } else { at.min(whole) }),
        None => Some(at).filter(|at| (0..i64::from(i32::MAX)).contains(at)),
    };
    Some(Takes::Range { start: place(int(1)?)?, end: place(int(2)?)? })
}

fn by_index(graph: &ModelGraph<'_>, index: ValueId) -> Takes {
    if graph.value(index).is_data {
        return by_mask(graph, index, true);
    }
    match graph.all_ints(index) {
        Some(mut positions) => {
            positions.dedup();
            Takes::Positions { positions }
        }
        None => Takes::Computed { tensor: None },
    }
}

/// What a mask, or the list of its hits, says: for the other of two experts, it says no.
pub(super) fn by_mask(graph: &ModelGraph<'_>, mask: ValueId, says_yes: bool) -> Takes {
    let mut at = mask;
    for _ in 0..MAX_STEPS {
        let Some((_, node)) = graph.producing(at) else { break };
        let equal = || {
            let [a, b] = [node.input(0)?, node.input(1)?];
            let (ids, number) = if graph.value(a).is_data { (a, b) } else { (b, a) };
            Some((ids, graph.const_scalar(number)? as i64))
        };
        match node.op {
            "Equal" if says_yes => {
                if let Some((ids, equals)) = equal() {
                    return Takes::Equal { tensor: tensor_ref(graph, ids, None, false), equals };
                }
                break;
            }
            op if is_passive(op) || matches!(op, "NonZero" | "Split" | "Slice" | "Gather") => match node.input(0) {
                Some(before) => at = before,
                None => break,
            },
            _ => break,
        }
    }
    Takes::Computed { tensor: Some(tensor_ref(graph, at, None, false)) }
}

/// What decides, from what each expert takes and from one of the indices.
pub(super) fn rule(graph: &ModelGraph<'_>, experts: &[FixedExpert], index: Option<ValueId>) -> FixedRule {
    let is_of_positions = |expert: &FixedExpert| matches!(expert.takes, Takes::Range { .. } | Takes::Positions { .. });
    if experts.iter().all(is_of_positions) {
        return FixedRule::Position;
    }
    let (mut name, mut table) = (None, None);
    let mut waiting: Vec<ValueId> = index.into_iter().collect();
    for _ in 0..MAX_STEPS {
        let Some(value) = waiting.pop() else { break };
        match graph.value(value).source {
            Source::Input(_) => name = name.or(Some(graph.value(value).name.to_owned())),
            Source::Node(id) => {
                let node = graph.node(id);
                let is_table = |data: &ValueId| node.op.starts_with("Gather") && !graph.value(*data).is_data;
                table = table.or_else(|| graph.all_ints(node.input(0).filter(is_table)?));
                waiting.extend(graph.data_inputs(node));
            }
            _ => {}
        }
    }
    match (name, table) {
        (Some(name), Some(table)) => {
            let of = |expert: usize| table.iter().filter(|&&id| id == expert as i64).count();
            FixedRule::Table { name, ids_per_expert: (0..experts.len()).map(of).collect() }
        }
        (Some(name), None) => FixedRule::Input { name },
        (None, _) => FixedRule::Computed,
    }
}
