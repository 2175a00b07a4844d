//! How many tokens experts take: of which group, and whom first.

use super::kinds::{Choice, Counted};
use super::report::{Capacity, Priority};
use super::walk::Walk;
use crate::model::graph::{ModelGraph, ValueId};

/// The limit of a router whose experts have so many places for the tokens that chose them; `logits` has all its tokens.
pub(super) fn of_places(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, logits: ValueId) -> Option<Capacity> {
    let per_expert = walk.findings.capacity?;
    let counted = walk.findings.counted;
    let group = counted.and_then(|counted| group_of(graph, walk, logits, counted)).unwrap_or_default();
    let is_sorted = counted.is_some_and(|counted| counted.is_sorted);
    let priority = if is_sorted { Priority::BatchPriority } else { Priority::FirstCome };
    Some(Capacity { per_expert, group_tokens: group.tokens, groups: group.count, priority })
}

/// The limit of a router whose experts choose `per_expert` tokens each.
pub(super) fn of_choice(
    graph: &ModelGraph<'_>,
    walk: &Walk<'_, '_>,
    logits: ValueId,
    choice: Option<Choice>,
    per_expert: Option<usize>,
) -> Capacity {
    let group_tokens = choice.and_then(|choice| usize::try_from(choice.among?).ok()).filter(|&tokens| tokens > 0);
    let tokens = num_rows(graph, walk, logits);
    let groups = tokens.zip(group_tokens).and_then(|(all, group)| (all % group == 0).then_some(all / group));
    Capacity { per_expert, group_tokens, groups, priority: Priority::ExpertChoice }
}

#[derive(Default)]
struct Group {
    tokens: Option<usize>,
    count: Option<usize>,
}

/// The tokens that are counted together. A mask has one row per token, or k of them: those of all ranks lie one behind the
/// other and are counted together, or have an axis of their own.
fn group_of(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, logits: ValueId, counted: Counted) -> Option<Group> {
    let together = usize::try_from(*graph.shape(counted.mask)?.get(counted.axis)?).ok().filter(|&size| size > 0)?;
    let (tokens, rows) = (num_rows(graph, walk, logits), num_rows(graph, walk, counted.mask));
    let Some((tokens, rows)) = tokens.zip(rows).filter(|&(tokens, rows)| tokens > 0 && rows % tokens == 0) else {
        // With any number of images, those of one of them may still be counted together.
        let shape = graph.shape(logits)?;
        let of_image = usize::try_from(*shape.get(shape.len().checked_sub(2)?)?).ok().filter(|&size| size > 0)?;
        return Some(Group { tokens: together.is_multiple_of(of_image).then_some(of_image), count: None });
    };
    let per_token = rows / tokens;
    let beside = graph.shape(counted.mask)?.get(counted.axis + 1..)?.iter().rev().skip(1).product::<i64>();
    let in_group = graph.shape(logits).and_then(|shape| shape.iter().rev().nth(1).copied());
    let of_each_rank = usize::try_from(beside) == Ok(per_token) || in_group == i64::try_from(together).ok();
    let size = if of_each_rank { together } else { together / per_token.max(1) };
    (size > 0 && tokens % size == 0).then(|| Group { tokens: Some(size), count: Some(tokens / size) })
}

/// Rows of a tensor with one column per expert.
fn num_rows(graph: &ModelGraph<'_>, walk: &Walk<'_, '_>, value: ValueId) -> Option<usize> {
    let (all, width) = (graph.num_elements(value)?, walk.width.filter(|&width| width > 0)?);
    (all % width == 0).then_some(all / width).and_then(|rows| usize::try_from(rows).ok())
}
