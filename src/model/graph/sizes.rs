//! Arithmetic of sizes, of which some are not known (−1) and all are numbers from a file: none overflows.

use super::Shape;

pub(super) fn slice_len(size: i64, start: i64, end: i64, step: i64) -> i64 {
    if size < 0 {
        // From the front up to a fixed end; the axis may be shorter, which the graph would not have been made for.
        return if start >= 0 && end >= start && step == 1 && end < i64::from(i32::MAX) { end - start } else { -1 };
    }
    let bound =
        |bound: i64, low: i64, high: i64| (if bound < 0 { bound.saturating_add(size) } else { bound }).clamp(low, high);
    match step {
        _ if size == 0 => 0,
        0 | i64::MIN => -1,
        1.. => (bound(end, 0, size) - bound(start, 0, size)).max(0).saturating_add(step - 1) / step,
        _ => (bound(start, 0, size - 1) - bound(end, -1, size - 1)).max(0).saturating_sub(step + 1) / -step,
    }
}

pub(super) fn product(sizes: &[i64]) -> i64 {
    let step = |product: i64, &size: &i64| if size < 0 { None } else { product.checked_mul(size) };
    sizes.iter().try_fold(1_i64, step).unwrap_or(-1)
}

pub(super) fn joined(parts: &[&[i64]]) -> Shape {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

/// NumPy's rule; a size that is not known yields to one that is larger than 1.
pub(super) fn broadcast(a: &[i64], b: &[i64]) -> Shape {
    let rank = a.len().max(b.len());
    let at = |shape: &[i64], n: usize| if n + shape.len() < rank { 1 } else { shape[n + shape.len() - rank] };
    let join = |n| match (at(a, n), at(b, n)) {
        (1, size) | (size, 1) => size,
        (-1, size) | (size, -1) => size,
        (size, _) => size,
    };
    (0..rank).map(join).collect()
}

/// What the file tells of a shape, completed by what was inferred.
pub(super) fn merge(told: Option<Shape>, inferred: Option<Shape>) -> Option<Shape> {
    match (told, inferred) {
        (Some(told), Some(inferred)) if told.len() == inferred.len() => {
            Some(told.iter().zip(&inferred).map(|(&a, &b)| if a >= 0 { a } else { b }).collect())
        }
        (Some(told), _) => Some(told),
        (None, inferred) => inferred,
    }
}
