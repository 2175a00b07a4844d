//! The integers that shapes, axes and counts are made of, computed where constants and known sizes allow it.

use super::attributes::normal_axis;
use super::constants::small_ints;
use super::{ModelGraph, Node, ValueId};

/// Larger integer tensors are data, not shapes.
const MAX_INTS: usize = 256;

pub(super) type Ints = Vec<Option<i64>>;

impl<'a> ModelGraph<'a> {
    pub(super) fn range(&self, node: &Node<'a>) -> Option<Ints> {
        let part = |index: usize| self.const_int(node.input(index)?);
        let (start, limit, step) = (part(0)?, part(1)?, part(2)?);
        let len = if step > 0 { limit.checked_sub(start)?.checked_add(step - 1)? / step } else { return None };
        let len = usize::try_from(len).ok().filter(|&len| len <= MAX_INTS)?;
        Some((0..len as i64).map(|n| Some(start + n * step)).collect())
    }

    /// The integers that a node computes from shapes and constants.
    pub(super) fn infer_ints(&self, node: &Node<'a>) -> Option<Ints> {
        let of = |index: usize| node.input(index).and_then(|value| self.value(value).ints.as_ref());
        let ints = match node.op {
            "Shape" => {
                let shape = self.shape(node.input(0)?)?;
                let bound = |name, default: usize| {
                    let bound = self.int(node, name).unwrap_or(default as i64);
                    let bound = if bound < 0 { bound + shape.len() as i64 } else { bound };
                    usize::try_from(bound).map_or(0, |bound| bound.min(shape.len()))
                };
                let range = bound("start", 0)..bound("end", shape.len());
                shape.get(range)?.iter().map(|&size| (size >= 0).then_some(size)).collect()
            }
            "Size" => vec![self.num_elements(node.input(0)?)],
            "Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => of(0)?.clone(),
            "Concat" => {
                let parts = node.inputs.iter().flatten().map(|&input| self.value(input).ints.as_deref());
                parts.collect::<Option<Vec<_>>>()?.concat()
            }
            "Gather" => {
                let data = of(0)?;
                if self.shape(node.input(0)?)?.len() != 1 {
                    return None;
                }
                let pick = |index: Option<i64>| {
                    let index = index?;
                    let index = if index < 0 { index + data.len() as i64 } else { index };
                    data.get(usize::try_from(index).ok()?).copied().flatten()
                };
                of(1)?.iter().map(|&index| pick(index)).collect()
            }
            "Slice" => self.slice_ints(node)?,
            "Transpose" => self.transposed_ints(node)?,
            "Range" => self.range(node)?,
            "Add" => self.combine(node, i64::checked_add)?,
            "Sub" => self.combine(node, i64::checked_sub)?,
            "Mul" => self.combine(node, i64::checked_mul)?,
            "Div" => self.combine(node, i64::checked_div)?,
            // The sign is the divisor's, as in Python.
            "Mod" => {
                self.combine(node, |a, b| a.checked_rem(b).map(|rest| if rest * b < 0 { rest + b } else { rest }))?
            }
            "Neg" => of(0)?.iter().map(|int| int.and_then(i64::checked_neg)).collect(),
            "Min" => self.combine(node, |a, b| Some(a.min(b)))?,
            "Max" => self.combine(node, |a, b| Some(a.max(b)))?,
            "ReduceProd" => vec![of(0)?.iter().try_fold(1_i64, |product, &int| product.checked_mul(int?))],
            "Equal" => self.combine(node, |a, b| Some(i64::from(a == b)))?,
            "Where" => {
                let (yes, no) = (of(1)?, of(2)?);
                let pick = |(n, choice): (usize, &Option<i64>)| {
                    let from = if (*choice)? == 0 { no } else { yes };
                    from.get(if from.len() == 1 { 0 } else { n }).copied().flatten()
                };
                of(0)?.iter().enumerate().map(pick).collect()
            }
            "Expand" | "ConstantOfShape" => return self.filled(node),
            _ => return None,
        };
        (ints.len() <= MAX_INTS).then_some(ints)
    }

    /// A part of a list, or of a table: torch turns pairs of paddings round with it.
    fn slice_ints(&self, node: &Node<'a>) -> Option<Ints> {
        let data = node.input(0)?;
        let mut ints = self.value(data).ints.clone()?;
        let list = |index: usize, name: &str| match node.input(index) {
            Some(value) => self.const_ints(value),
            None => self.ints(node, name).map(<[i64]>::to_vec),
        };
        let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
        let axes = match list(3, "axes") {
            Some(axes) => axes,
            None if node.input(3).is_some() => return None,
            None => (0..starts.len() as i64).collect(),
        };
        let steps = if node.input(4).is_some() { list(4, "steps")? } else { vec![1; starts.len()] };
        let mut sizes = self.sizes_of(data, ints.len())?;
        for (n, &axis) in axes.iter().enumerate() {
            let axis = normal_axis(axis, sizes.len())?;
            let picked = slice_range(sizes[axis], *starts.get(n)?, *ends.get(n)?, *steps.get(n)?)?;
            ints = picked_along(&ints, &sizes, axis, &picked);
            sizes[axis] = picked.len();
        }
        Some(ints)
    }

    /// The same integers in the order of the other axis first.
    fn transposed_ints(&self, node: &Node<'a>) -> Option<Ints> {
        let data = node.input(0)?;
        let ints = self.value(data).ints.as_ref()?;
        match (self.sizes_of(data, ints.len())?.as_slice(), self.ints(node, "perm")) {
            ([_], _) | ([_, _], Some([0, 1])) => Some(ints.clone()),
            (&[rows, cols], None | Some([1, 0])) => {
                (0..rows * cols).map(|at| ints.get(at % rows * cols + at / rows).copied()).collect()
            }
            _ => None,
        }
    }

    /// The sizes of a tensor of so many integers; where they are not known, it is a list.
    fn sizes_of(&self, value: ValueId, len: usize) -> Option<Vec<usize>> {
        let Some(shape) = self.shape(value) else { return Some(vec![len]) };
        let sizes: Vec<usize> = shape.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
        (sizes.iter().try_fold(1_usize, |count, &size| count.checked_mul(size)) == Some(len)).then_some(sizes)
    }

    fn combine(&self, node: &Node<'a>, operation: impl Fn(i64, i64) -> Option<i64>) -> Option<Ints> {
        let part = |index: usize| self.value(node.input(index)?).ints.as_ref();
        let (a, b) = (part(0)?, part(1)?);
        let shape = |index: usize| node.input(index).and_then(|value| self.shape(value));
        if let (Some(a_shape), Some(b_shape)) = (shape(0), shape(1))
            && a_shape.len().max(b_shape.len()) > 1
        {
            let (a, b) = (spread(a, a_shape, b_shape)?, spread(b, b_shape, a_shape)?);
            return Some(a.into_iter().zip(b).map(|(a, b)| operation(a?, b?)).collect());
        }
        let len = a.len().max(b.len());
        let at = |list: &Ints, n: usize| list.get(if list.len() == 1 { 0 } else { n }).copied().flatten();
        Some((0..len).map(|n| operation(at(a, n)?, at(b, n)?)).collect())
    }

    /// One integer, repeated: torch writes shapes as Where(shape == −1, 1, shape), for one.
    fn filled(&self, node: &Node<'a>) -> Option<Ints> {
        match node.op {
            "ConstantOfShape" => {
                let len = usize::try_from(self.const_int(node.input(0)?)?).ok().filter(|&len| len <= MAX_INTS)?;
                let filling = self.attribute(node, "value").and_then(|value| value.t.as_ref())?;
                Some(vec![small_ints(filling)?.first().copied().flatten(); len])
            }
            "Expand" => {
                let ints = self.value(node.input(0)?).ints.as_ref()?;
                let len = self.const_ints(node.input(1)?)?;
                let len = usize::try_from(len.iter().try_fold(1_i64, |product, &size| product.checked_mul(size))?)
                    .ok()
                    .filter(|&len| len <= MAX_INTS)?;
                (ints.len() == 1).then(|| vec![ints[0]; len.max(1)])
            }
            _ => None,
        }
    }
}

/// The indices that a slice takes along an axis, by ONNX's rule; `None` for a step of 0.
fn slice_range(size: usize, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let len = i64::try_from(size).ok()?;
    let bound =
        |bound: i64, low: i64, high: i64| (if bound < 0 { bound.saturating_add(len) } else { bound }).clamp(low, high);
    let stride = usize::try_from(step.unsigned_abs()).ok()?;
    match step {
        0 => None,
        _ if size == 0 => Some(Vec::new()),
        1.. => Some((bound(start, 0, len)..bound(end, 0, len)).step_by(stride).map(|at| at as usize).collect()),
        _ => {
            let (first, last) = (bound(start, 0, len - 1), bound(end, -1, len - 1));
            Some((last + 1..=first).rev().step_by(stride).map(|at| at as usize).collect())
        }
    }
}

/// The elements at `picked` of one axis of a table, which lie in it.
fn picked_along(ints: &Ints, sizes: &[usize], axis: usize, picked: &[usize]) -> Ints {
    let inner: usize = sizes[axis + 1..].iter().product();
    let outer: usize = sizes[..axis].iter().product();
    let rows = (0..outer).flat_map(|outer| picked.iter().map(move |at| (outer * sizes[axis] + at) * inner));
    rows.flat_map(|row| &ints[row..row + inner]).copied().collect()
}

/// The elements of a table of small integers along all axes that it and another one have together; `None` where that is
/// too long, or the sizes do not fit.
fn spread(ints: &Ints, shape: &[i64], other: &[i64]) -> Option<Ints> {
    let rank = shape.len().max(other.len());
    let size = |shape: &[i64], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let sizes: Vec<usize> = (0..rank)
        .map(|axis| match (size(shape, axis), size(other, axis)) {
            (a, b) if a == b || b == 1 => usize::try_from(a).ok(),
            (1, b) => usize::try_from(b).ok(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let count = sizes.iter().try_fold(1_usize, |count, &size| count.checked_mul(size))?;
    if count > MAX_INTS {
        return None;
    }
    let own = |mut at: usize| {
        let (mut index, mut stride) = (0, 1);
        for axis in (0..rank).rev() {
            let along = at % sizes[axis];
            at /= sizes[axis];
            let own_size = usize::try_from(size(shape, axis)).unwrap_or(1);
            index += if own_size == 1 { 0 } else { along * stride };
            stride *= own_size;
        }
        ints.get(index).copied()
    };
    (0..count).map(own).collect()
}
