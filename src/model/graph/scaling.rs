//! Shapes of what is padded, scaled, or moved between pixels and channels.

use super::attributes::normal_axis;
use super::constants::num_or_unknown;
use super::{ModelGraph, Node, Shape};

impl<'a> ModelGraph<'a> {
    pub(super) fn pad_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let mut shape = self.shape(node.input(0)?)?.to_vec();
        let pads = match node.input(1) {
            Some(pads) => self.value(pads).ints.clone()?,
            None => self.ints(node, "pads")?.iter().copied().map(Some).collect(),
        };
        let axes = match node.input(3) {
            Some(axes) => self.const_ints(axes)?,
            None => (0..shape.len() as i64).collect(),
        };
        for (n, &axis) in axes.iter().enumerate() {
            let axis = normal_axis(axis, shape.len())?;
            let both = pads.get(n).copied().flatten().zip(pads.get(n + axes.len()).copied().flatten());
            let padded = both.and_then(|(before, after)| shape[axis].checked_add(before)?.checked_add(after));
            shape[axis] = padded.filter(|&size| shape[axis] >= 0 && size >= 0).unwrap_or(-1);
        }
        Some(shape.into())
    }

    /// From the sizes that are wanted, or from how much larger they shall be.
    pub(super) fn resize_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let shape = self.shape(node.input(0)?)?;
        if let Some(sizes) = node.input(3) {
            let sizes = self.value(sizes).ints.clone()?;
            return (sizes.len() == shape.len()).then(|| sizes.into_iter().map(num_or_unknown).collect());
        }
        let scales = node.input(2).or(node.input(1)).and_then(|scales| self.const_floats(scales))?;
        let scaled = |(&size, scale): (&i64, f32)| {
            if size < 0 { -1 } else { (size as f64 * f64::from(scale)).floor() as i64 }
        };
        (scales.len() == shape.len()).then(|| shape.iter().zip(scales).map(scaled).collect())
    }

    /// Blocks of pixels become channels, or the other way round.
    pub(super) fn block_shape(&self, node: &Node<'a>) -> Option<Shape> {
        let &[batch, channels, rows, cols] = self.shape(node.input(0)?)? else { return None };
        let side = self.int(node, "blocksize").filter(|side| (1..1 << 16).contains(side))?;
        let times = |size: i64, by: i64| if size < 0 { -1 } else { size.saturating_mul(by) };
        let part = |size: i64, by: i64| if size < 0 { -1 } else { size / by };
        let sizes = match node.op {
            "SpaceToDepth" => [batch, times(channels, side * side), part(rows, side), part(cols, side)],
            _ => [batch, part(channels, side * side), times(rows, side), times(cols, side)],
        };
        Some(Shape::from(sizes))
    }
}
