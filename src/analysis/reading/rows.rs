//! A tensor as rows: one for each token, or whatever its other axes count, with the experts last.

use crate::engine::{Tensor, TensorData};
use std::ops::Range;

/// Values of so many columns each, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows<T> {
    pub values: Vec<T>,
    pub columns: usize,
}

impl Rows<f32> {
    /// The tensor's values with the axis, counted from the end, moved to the end; without an axis one column.
    pub fn floats(tensor: &Tensor, axis_from_end: Option<usize>) -> Self {
        Self::moved(&tensor.data.to_floats(), &tensor.shape, axis_from_end)
    }
}

impl Rows<bool> {
    /// Whether an element is not zero, or, along the axis of `places`, any of them.
    pub fn any(tensor: &Tensor, axis_from_end: Option<usize>, places: Option<usize>) -> Self {
        let values: Vec<bool> = match &tensor.data {
            TensorData::F32(values) => values.iter().map(|&value| value != 0.0).collect(),
            TensorData::I64(values) => values.iter().map(|&value| value != 0).collect(),
        };
        let Some(places) = places.filter(|&places| places < tensor.shape.len()) else {
            return Self::moved(&values, &tensor.shape, axis_from_end);
        };
        let by_place = Self::moved(&values, &tensor.shape, Some(places));
        let folded: Vec<bool> = by_place.iter().map(|places| places.contains(&true)).collect();
        let mut shape = tensor.shape.clone();
        shape.remove(shape.len() - places - 1);
        let axis = axis_from_end.map(|axis| axis - usize::from(axis > places));
        Self::moved(&folded, &shape, axis)
    }
}

impl Rows<i64> {
    /// As [`Rows::floats`]; graphs keep indices as floats at times.
    pub fn integers(tensor: &Tensor, axis_from_end: Option<usize>) -> Self {
        match &tensor.data {
            TensorData::I64(values) => Self::moved(values, &tensor.shape, axis_from_end),
            TensorData::F32(values) => {
                let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
                Self::moved(&values, &tensor.shape, axis_from_end)
            }
        }
    }
}

impl<T: Copy> Rows<T> {
    fn moved(values: &[T], shape: &[usize], axis_from_end: Option<usize>) -> Self {
        let Some(axis) = axis_from_end.and_then(|axis| shape.len().checked_sub(axis + 1)) else {
            return Self { values: values.to_vec(), columns: 1 };
        };
        let (columns, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        if inner == 1 || columns == 0 {
            return Self { values: values.to_vec(), columns: columns.max(1) };
        }
        let block = columns * inner;
        let of_block = |block: &[T]| {
            let at = |row: usize| (0..columns).map(move |column| column * inner + row);
            (0..inner).flat_map(at).map(|at| block[at]).collect::<Vec<T>>()
        };
        Self { values: values.chunks_exact(block.max(1)).flat_map(of_block).collect(), columns }
    }

    /// The same values in rows of another length, where they fill them.
    pub fn with_columns(self, columns: usize) -> Option<Self> {
        let fits = columns > 0 && self.values.len().is_multiple_of(columns);
        fits.then_some(Self { values: self.values, columns })
    }

    pub fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    pub fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.columns..][..self.columns]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[T]> {
        self.values.chunks_exact(self.columns)
    }

    /// Several rows as they lie.
    pub fn of(&self, rows: Range<usize>) -> &[T] {
        &self.values[rows.start * self.columns..rows.end * self.columns]
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;
    use crate::engine::{Tensor, TensorData};

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor { name: "t".to_owned(), shape: shape.to_vec(), data: TensorData::F32(values.into()) }
    }

    #[test]
    fn experts_come_last_wherever_they_lie() {
        let (shape, values) = ([2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let cases: [(Option<usize>, &[f32], usize); 4] = [
            (Some(0), &values, 3),
            (Some(1), &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0], 2),
            (None, &values, 1),
            // An axis that the tensor does not have is none.
            (Some(2), &values, 1),
        ];
        for (axis, expected, columns) in cases {
            let rows = Rows::floats(&tensor(&shape, &values), axis);
            assert_eq!((rows.values.as_slice(), rows.columns), (expected, columns), "{axis:?}");
        }
    }

    #[test]
    fn any_place_is_enough() {
        // Two tokens, two experts, two places: the first token has one with the second expert.
        let places = tensor(&[2, 2, 2], &[0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]);
        let rows = Rows::any(&places, Some(1), Some(0));
        assert_eq!((rows.values, rows.columns), (vec![false, true, false, false], 2));
        let scalar = Rows::any(&tensor(&[], &[1.0]), Some(1), Some(0));
        assert_eq!((scalar.values, scalar.columns), (vec![true], 1));
    }
}
