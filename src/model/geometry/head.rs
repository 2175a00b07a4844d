//! What a graph does with an image before its first layer: brings the axes into order, normalises the values.

use crate::model::Layout;
use crate::model::graph::{ModelGraph, Node, NodeId, ValueId};

/// The way from the image input to the first operator that does more than normalise.
#[derive(Debug)]
pub(super) struct Head {
    /// The axes of the image as the first layer sees them, by their number in the input.
    pub axes: Vec<usize>,
    /// Factor and summand of each colour that are applied to the values, where any are.
    pub affine: Option<[(f32, f32); 3]>,
    /// The first layer, if it is a convolution.
    pub conv: Option<NodeId>,
}

/// Normalising takes a few nodes.
const MAX_STEPS: usize = 24;

impl Head {
    /// Follows the only way that the values of `image`, of rank 4, take.
    pub fn of(graph: &ModelGraph<'_>, image: ValueId) -> Self {
        let mut head = Self { axes: vec![0, 1, 2, 3], affine: None, conv: None };
        let mut at = image;
        for _ in 0..MAX_STEPS {
            let mut consumers = graph.data_consumers(at);
            let (Some(id), None) = (consumers.next(), consumers.next()) else { break };
            let node = graph.node(id);
            let is_followed = match node.op {
                "Identity" | "Cast" | "CastLike" | Node::CARRY => true,
                "Transpose" => head.transpose(graph.ints(node, "perm")),
                "Add" | "Sub" | "Mul" | "Div" => head.scale(graph, node, at),
                "Conv" | "ConvInteger" | "FusedConv" => {
                    head.conv = Some(id);
                    false
                }
                _ => false,
            };
            match node.output(0).filter(|_| is_followed) {
                Some(output) => at = output,
                None => break,
            }
        }
        head
    }

    fn transpose(&mut self, perm: Option<&[i64]>) -> bool {
        let axes = perm.and_then(|perm| perm.iter().map(|&axis| self.axes.get(axis as usize).copied()).collect());
        axes.map(|axes| self.axes = axes).is_some()
    }

    fn scale(&mut self, graph: &ModelGraph<'_>, node: &Node<'_>, at: ValueId) -> bool {
        let image_is_first = node.input(0) == Some(at);
        let other = node.input(usize::from(image_is_first)).and_then(|other| graph.const_floats(other));
        let Some(other) = other.filter(|other| matches!(other.len(), 1 | 3)) else { return false };
        let mut affine = self.affine.unwrap_or([(1.0, 0.0); 3]);
        for (channel, (factor, summand)) in affine.iter_mut().enumerate() {
            let value = other[channel % other.len()];
            (*factor, *summand) = match (node.op, image_is_first) {
                ("Add", _) => (*factor, *summand + value),
                ("Sub", true) => (*factor, *summand - value),
                ("Sub", false) => (-*factor, value - *summand),
                ("Mul", _) => (*factor * value, *summand * value),
                ("Div", true) if value != 0.0 => (*factor / value, *summand / value),
                _ => return false,
            };
        }
        self.affine = Some(affine);
        true
    }

    /// The layout that the first convolution asks for: it wants the colours on axis 1.
    pub fn layout(&self, graph: &ModelGraph<'_>) -> Option<Layout> {
        let conv = graph.node(self.conv?);
        let channels = graph.shape(conv.input(1)?)?.get(1)?.saturating_mul(graph.int(conv, "group").unwrap_or(1));
        match self.axes.get(1)? {
            1 if channels == 3 => Some(Layout::Nchw),
            3 if channels == 3 => Some(Layout::Nhwc),
            _ => None,
        }
    }

    /// The side of the patches, where the first convolution cuts the image into squares.
    pub fn patch_side(&self, graph: &ModelGraph<'_>) -> Option<u32> {
        let conv = graph.node(self.conv?);
        let window = graph.ints(conv, "kernel_shape").or_else(|| graph.shape(conv.input(1)?)?.get(2..))?;
        let strides = graph.ints(conv, "strides")?;
        let side = u32::try_from(*window.first()?).ok().filter(|&side| side >= 2)?;
        (window == strides && window.iter().all(|&other| other == i64::from(side))).then_some(side)
    }

    /// The largest byte value's counterpart that the graph expects of raw pixels, where it normalises them itself: 1 or
    /// 255.
    pub fn raw_range(&self) -> Option<f32> {
        let affine = self.affine.filter(|affine| affine.iter().any(|&step| step != (1.0, 0.0)))?;
        // What is subtracted, and what is divided by, in raw units.
        let largest = affine.iter().map(|&(factor, summand)| (summand / factor).abs().max((1.0 / factor).abs()));
        let largest = largest.fold(0.0, f32::max);
        largest.is_finite().then_some(if largest > 4.0 { 255.0 } else { 1.0 })
    }
}
