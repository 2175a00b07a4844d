//! Compares a changed run of a row with what PyTorch gives when it is changed alike.

use crate::row::Row;
use moescope::engine::{Tensor, TensorData};

/// How far outputs may be from PyTorch's, relative to the largest.
const TOLERANCE: f64 = 1e-4;

/// Compares what `changed.npz` has under `prefix` with outputs; how many there were.
pub fn compare(row: &Row, prefix: &str, outputs: &[Tensor]) -> usize {
    let mut changed = row.changed().unwrap();
    let mut compared = 0;
    for output in outputs {
        let Some(expected) = changed.floats(&format!("{prefix}.{}", output.name)) else { continue };
        let TensorData::F32(found) = &output.data else { panic!("{output:?}") };
        assert_eq!(output.shape, expected.shape());
        let largest = expected.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
        let difference = found.iter().zip(&expected).fold(0.0, |max: f64, (a, b)| max.max((f64::from(*a) - b).abs()));
        assert!(difference <= TOLERANCE * largest, "{} {prefix}: {difference} of {largest}", row.name);
        compared += 1;
    }
    compared
}
