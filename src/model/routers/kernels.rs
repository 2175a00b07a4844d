//! Experts that are convolution kernels: a gate mixes the kernels, and only their mixture is ever used.

use super::experts::{is_weight, lead};
use super::region::Region;
use super::scores::is_passive;
use super::walk::Walk;
use crate::model::graph::{ModelGraph, NodeId, ValueId, is_product};

/// Kernels that gates mix before a convolution or product uses them (CondConv: Yang et al. 2019).
pub(super) fn mixed_kernels(
    graph: &ModelGraph<'_>,
    region: &Region,
    walk: &Walk<'_, '_>,
    widths: &[i64],
) -> Option<(NodeId, ValueId, i64)> {
    let node = graph.node(region.merge);
    if !matches!(node.op, "MatMul" | "Gemm" | "Einsum" | "Mul" | "FusedMatMul") {
        return None;
    }
    let gate = node.inputs.iter().flatten().any(|&input| walk.kind(input).is_some());
    let weight = node.inputs.iter().flatten().copied().find(|&input| is_weight(graph, input))?;
    let (leading, rank) = lead(graph, weight)?;
    let width = widths.iter().copied().find(|&width| width > 1 && width == leading)?;
    (gate && rank >= 2 && becomes_weight(graph, node.output(0)?)).then_some((region.merge, weight, width))
}

/// Whether a value ends as the weight of a product whose data come from elsewhere.
fn becomes_weight(graph: &ModelGraph<'_>, mut value: ValueId) -> bool {
    for _ in 0..12 {
        let mut readers = graph.data_consumers(value);
        let (Some(reader), None) = (readers.next(), readers.next()) else { return false };
        let node = graph.node(reader);
        if is_product(node.op) {
            let other_is_data = node.input(0).is_some_and(|x| x != value && graph.value(x).is_data);
            let convolves = matches!(node.op, "Conv" | "ConvTranspose" | "FusedConv" | "ConvInteger");
            return node.input(1) == Some(value) && other_is_data && convolves;
        }
        if !is_passive(node.op)
            && !node.op.starts_with("Reduce")
            && !matches!(node.op, "Concat" | "Add" | "Split" | "Slice" | "Gather" | "DynamicQuantizeLinear")
        {
            return false;
        }
        match node.output(0) {
            Some(output) => value = output,
            None => return false,
        }
    }
    false
}
