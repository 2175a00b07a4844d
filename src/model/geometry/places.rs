//! Where in the image the elements of a tensor come from.
//!
//! Whatever an exporter does between pixels and tokens (convolutions, reshapes, windows, shifts, concatenations), it
//! moves elements about, and that can be followed with places instead of values. An axis along which the place does not
//! change, such as the features of a token, is stored once.

use ndarray::{ArcArray, ArrayViewD, Axis, Dimension, IxDyn, Slice, Zip};

/// Tensors with more places than this are not followed: a picture of 2048 × 2048 pixels.
const MAX_PLACES: usize = 1 << 22;

/// The part of the model's input that an element stands for, in pixels of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Centre.
    pub y: f32,
    /// Centre.
    pub x: f32,
    /// Length of the longer side; negative for an element that has no place, such as a class token, a word or padding.
    pub reach: f32,
}

impl Place {
    pub const NOWHERE: Self = Self { y: 0.0, x: 0.0, reach: -1.0 };
    /// What was put beside an image, or a map of patches, so that something divides it.
    pub const PADDING: Self = Self { y: 0.0, x: 0.0, reach: -2.0 };

    pub fn is_somewhere(self) -> bool {
        self.reach >= 0.0
    }

    /// Of two of which one at most is somewhere: that one, else padding, if one is that.
    fn known(self, other: Self) -> Self {
        let other_wins = other.is_somewhere() || (other == Self::PADDING && !self.is_somewhere());
        if other_wins { other } else { self }
    }

    /// What stands for both: the smallest part that holds them.
    fn union(self, other: Self) -> Self {
        if !(self.is_somewhere() && other.is_somewhere()) {
            return self.known(other);
        }
        let span = |a: f32, b: f32| {
            let low = (a - self.reach / 2.0).min(b - other.reach / 2.0);
            let high = (a + self.reach / 2.0).max(b + other.reach / 2.0);
            (f32::midpoint(low, high), high - low)
        };
        let ((y, high), (x, wide)) = (span(self.y, other.y), span(self.x, other.x));
        Self { y, x, reach: high.max(wide) }
    }

    /// Of two values that are combined, the one with the closer place tells where the result belongs: a token keeps its
    /// place when what it gathered from everywhere is added to it.
    fn closer(self, other: Self) -> Self {
        if !(self.is_somewhere() && other.is_somewhere()) {
            return self.known(other);
        }
        if other.reach < self.reach { other } else { self }
    }

    fn between(self, other: Self, share: f32) -> Self {
        if !(self.is_somewhere() && other.is_somewhere()) {
            return self.known(other);
        }
        let mix = |a: f32, b: f32| a + (b - a) * share;
        Self { y: mix(self.y, other.y), x: mix(self.x, other.x), reach: self.reach.max(other.reach) }
    }
}

/// The places of a tensor's elements.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Sizes of the tensor's axes, each at least 1.
    shape: Vec<usize>,
    /// The same, or 1 where the place does not change along an axis.
    array: ArcArray<Place, IxDyn>,
}

impl Places {
    /// Those of an image: every pixel its own.
    pub fn of_pixels(shape: &[usize], row_axis: usize, col_axis: usize) -> Option<Self> {
        let sizes = (0..shape.len()).map(|axis| if axis == row_axis || axis == col_axis { shape[axis] } else { 1 });
        let sizes: Vec<usize> = sizes.collect();
        is_followed(&sizes).then(|| {
            let pixel =
                |index: IxDyn| Place { y: index[row_axis] as f32 + 0.5, x: index[col_axis] as f32 + 0.5, reach: 1.0 };
            Self { shape: shape.to_vec(), array: ArcArray::from_shape_fn(IxDyn(&sizes), pixel) }
        })
    }

    /// Number of places that are stored.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the place changes along an axis.
    pub fn varies(&self, axis: usize) -> bool {
        self.array.shape()[axis] > 1
    }

    /// Whether elements along an axis really lie in different places: the images of a batch may be stored one by one, and all
    /// have the same.
    pub fn differs(&self, axis: usize) -> bool {
        let first = self.array.index_axis(Axis(axis), 0);
        self.array.axis_iter(Axis(axis)).any(|other| other != first)
    }

    pub fn is_anywhere(&self) -> bool {
        self.array.iter().any(|place| place.is_somewhere())
    }

    /// All places, row-major over the axes along which they change.
    pub fn iter(&self) -> impl Iterator<Item = Place> {
        self.array.iter().copied()
    }

    fn with(shape: Vec<usize>, array: ArcArray<Place, IxDyn>) -> Option<Self> {
        is_followed(array.shape()).then_some(Self { shape, array })
    }

    pub fn transposed(&self, perm: &[usize]) -> Option<Self> {
        let shape = perm.iter().map(|&axis| self.shape.get(axis).copied()).collect::<Option<Vec<_>>>()?;
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        (sorted.iter().copied().eq(0..self.shape.len()))
            .then(|| Self { shape, array: self.array.clone().permuted_axes(perm) })
    }

    /// Axes are split and joined in groups of equal product, so that those along which nothing changes stay so.
    pub fn reshaped(&self, to: &[usize]) -> Option<Self> {
        let from = &self.shape;
        let product = |sizes: &[usize]| sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        if product(from)? != product(to)? || to.contains(&0) {
            return None;
        }
        let mut expanded = self.array.shape().to_vec();
        let mut sizes = vec![1; to.len()];
        let (mut i, mut j) = (0, 0);
        while i < from.len() || j < to.len() {
            let (first_i, first_j) = (i, j);
            let (mut left, mut right) = (1, 1);
            loop {
                if i < from.len() && (left <= right || j == to.len()) {
                    left *= from[i];
                    i += 1;
                } else if j < to.len() {
                    right *= to[j];
                    j += 1;
                }
                if left == right && (i > first_i || i == from.len()) && (j > first_j || j == to.len()) {
                    break;
                }
            }
            if (first_i..i).any(|axis| self.varies(axis)) {
                expanded[first_i..i].copy_from_slice(&from[first_i..i]);
                sizes[first_j..j].copy_from_slice(&to[first_j..j]);
            }
        }
        if !is_followed(&expanded) {
            return None;
        }
        let array = self.array.broadcast(expanded)?;
        let array = array.to_shape(sizes).ok()?.to_owned().into_shared();
        Some(Self { shape: to.to_vec(), array })
    }

    /// The tensor in a larger shape, by NumPy's rule.
    pub fn broadcast(&self, to: &[usize]) -> Option<Self> {
        let more = to.len().checked_sub(self.shape.len())?;
        let fits = self.shape.iter().zip(&to[more..]).all(|(&from, &to)| from == to || from == 1);
        let mut sizes = vec![1; more];
        sizes.extend_from_slice(self.array.shape());
        let array = self.array.to_shape(sizes).ok()?.to_owned().into_shared();
        fits.then(|| Self { shape: to.to_vec(), array })
    }

    /// The elements at `indices` of an axis; `None` for one of padding.
    pub fn picked(&self, axis: usize, indices: &[Option<usize>]) -> Option<Self> {
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        if !self.varies(axis) && indices.iter().all(Option::is_some) {
            return Some(Self { shape, array: self.array.clone() });
        }
        let last = self.array.shape()[axis] - 1;
        let known: Vec<usize> = indices.iter().map(|index| index.unwrap_or(0).min(last)).collect();
        let mut array = self.array.select(Axis(axis), &known);
        for (at, _) in indices.iter().enumerate().filter(|(_, index)| index.is_none()) {
            array.index_axis_mut(Axis(axis), at).fill(Place::PADDING);
        }
        Self::with(shape, array.into_shared())
    }

    /// Parts one after the other along an axis; those without places have a size, and what each element of them is.
    pub fn joined(parts: &[Result<&Self, (usize, Place)>], axis: usize) -> Option<Self> {
        let known: Vec<&Self> = parts.iter().filter_map(|part| part.ok()).collect();
        let (&first, rest) = known.split_first()?;
        if let ([Ok(only)], []) = (parts, rest) {
            return Some((*only).clone());
        }
        let rank = first.shape.len();
        if known.iter().any(|part| part.shape.len() != rank) {
            return None;
        }
        let sizes: Vec<usize> =
            (0..rank).map(|n| known.iter().map(|part| part.array.shape()[n]).max()).collect::<Option<_>>()?;
        let views = parts.iter().map(|part| {
            let mut sizes = sizes.clone();
            match part {
                Ok(part) => {
                    sizes[axis] = part.shape[axis];
                    is_followed(&sizes).then(|| part.array.broadcast(sizes).map(|view| view.to_owned()))?
                }
                Err((size, place)) => {
                    sizes[axis] = *size;
                    is_followed(&sizes).then(|| ndarray::ArrayD::from_elem(sizes, *place))
                }
            }
        });
        let arrays = views.collect::<Option<Vec<_>>>()?;
        let views: Vec<ArrayViewD<'_, Place>> = arrays.iter().map(|array| array.view()).collect();
        let array = ndarray::concatenate(Axis(axis), &views).ok()?;
        let mut shape = first.shape.clone();
        shape[axis] = array.shape()[axis];
        Self::with(shape, array.into_shared())
    }

    /// What two tensors of one shape have together.
    pub fn closer(&self, other: &Self) -> Option<Self> {
        let same = self.array.as_ptr() == other.array.as_ptr() && self.array.strides() == other.array.strides();
        if self.shape != other.shape || (same && self.array.shape() == other.array.shape()) {
            return (self.shape == other.shape).then(|| self.clone());
        }
        let sizes: Vec<usize> = self.array.shape().iter().zip(other.array.shape()).map(|(&a, &b)| a.max(b)).collect();
        if !is_followed(&sizes) {
            return None;
        }
        let (a, b) = (self.array.broadcast(sizes.clone())?, other.array.broadcast(sizes)?);
        let array = Zip::from(&a).and(&b).map_collect(|a, b| a.closer(*b)).into_shared();
        Some(Self { shape: self.shape.clone(), array })
    }

    /// Axes whose elements become one.
    pub fn reduced(&self, axes: &[usize], keep: bool) -> Option<Self> {
        let mut array = self.array.clone();
        if axes.iter().any(|&axis| axis >= self.shape.len()) {
            return None;
        }
        for &axis in axes.iter().filter(|&&axis| self.varies(axis)) {
            let folded = array.fold_axis(Axis(axis), Place::NOWHERE, |a, b| a.union(*b));
            array = folded.insert_axis(Axis(axis)).into_shared();
        }
        let mut shape = self.shape.clone();
        axes.iter().for_each(|&axis| shape[axis] = 1);
        let reduced = Self { shape, array };
        if keep {
            return Some(reduced);
        }
        let left = |sizes: &[usize]| -> Vec<usize> {
            let kept = sizes.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
            kept.map(|(_, &size)| size).collect()
        };
        let sizes = left(reduced.array.shape());
        let array = reduced.array.to_shape(sizes).ok()?.to_owned().into_shared();
        Some(Self { shape: left(&reduced.shape), array })
    }

    /// The elements between those of an axis, at `positions` counted in elements.
    pub fn resampled(&self, axis: usize, positions: &[f32]) -> Option<Self> {
        let mut shape = self.shape.clone();
        let is_same = positions.len() == shape[axis] && positions.iter().enumerate().all(|(n, &at)| at == n as f32);
        shape[axis] = positions.len();
        if is_same || !self.varies(axis) {
            return Some(Self { shape, array: self.array.clone() });
        }
        let last = self.array.shape()[axis] - 1;
        let at = |position: f32| position.clamp(0.0, last as f32);
        let pick = |round: fn(f32) -> f32| -> Vec<usize> { positions.iter().map(|&p| round(at(p)) as usize).collect() };
        let mut low = self.array.select(Axis(axis), &pick(f32::floor));
        let high = self.array.select(Axis(axis), &pick(f32::ceil));
        for (n, &position) in positions.iter().enumerate() {
            let share = at(position).fract();
            let high = high.index_axis(Axis(axis), n);
            low.index_axis_mut(Axis(axis), n).zip_mut_with(&high, |a, b| *a = a.between(*b, share));
        }
        Self::with(shape, low.into_shared())
    }

    /// Every place `times` as large.
    pub fn widened(mut self, times: f32) -> Self {
        if (times - 1.0).abs() > f32::EPSILON {
            self.array.map_inplace(|place| place.reach *= times);
        }
        self
    }

    /// Another shape of as many axes, along the same places.
    pub fn retold(&self, shape: Vec<usize>) -> Option<Self> {
        let fits = shape.len() == self.shape.len()
            && shape.iter().zip(self.array.shape()).all(|(&size, &stored)| stored == 1 || stored == size);
        fits.then(|| Self { shape, array: self.array.clone() })
    }

    /// A part of an axis, of which every `step`-th counts.
    pub fn sliced(&self, axis: usize, start: usize, end: usize, step: isize) -> Option<Self> {
        let mut array = self.array.clone();
        let slice = Slice { start: start as isize, end: Some(end as isize), step };
        let mut shape = self.shape.clone();
        shape[axis] = end.checked_sub(start)?.div_ceil(step.unsigned_abs());
        if self.varies(axis) {
            array.slice_axis_inplace(Axis(axis), slice);
        }
        (shape[axis] > 0).then_some(Self { shape, array })
    }
}

fn is_followed(sizes: &[usize]) -> bool {
    let count = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    !sizes.contains(&0) && count.is_some_and(|count| count <= MAX_PLACES) && IxDyn(sizes).ndim() == sizes.len()
}
