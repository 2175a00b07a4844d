//! How far the outputs of two runs are apart.

use super::Verdict;
use crate::engine::{Tensor, TensorData};

/// The largest difference of outputs that have a size in common; ids and weights have others with another k.
pub(super) fn compare(expected: &[Tensor], found: &[Tensor], bar: f64) -> Verdict {
    let mut worst: Option<f64> = None;
    for expected in expected {
        let found = found.iter().find(|tensor| tensor.name == expected.name);
        let found = found.ok_or_else(|| format!("{} is missing", expected.name))?;
        if found.shape == expected.shape {
            worst = Some(worst.unwrap_or(0.0).max(difference(&expected.data, &found.data)));
        }
    }
    match worst {
        None => Err("none of its outputs keeps its size".to_owned()),
        Some(worst) if worst <= bar => Ok(worst),
        Some(worst) => Err(format!("its outputs differ by {worst:.0e} of the largest value ({bar:.0e} is allowed)")),
    }
}

/// The largest difference, relative to the largest value; 1 and more for integers that differ.
fn difference(expected: &TensorData, found: &TensorData) -> f64 {
    match (expected, found) {
        (TensorData::F32(expected), TensorData::F32(found)) => {
            let largest =
                expected.iter().filter(|x| x.is_finite()).fold(f64::MIN_POSITIVE, |max, x| max.max(f64::from(x.abs())));
            let apart = |(a, b): (&f32, &f32)| match a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan() {
                true => 0.0,
                false => (f64::from(*a) - f64::from(*b)).abs() / largest,
            };
            expected
                .iter()
                .zip(&**found)
                .map(apart)
                .fold(0.0, |max, x| if x.is_nan() { f64::INFINITY } else { max.max(x) })
        }
        (expected, found) => f64::from(u8::from(expected != found)),
    }
}
