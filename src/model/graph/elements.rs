//! Which inputs of a node carry data, and of what type its outputs are.

use super::constants::{BOOL, FLOAT, INT64};
use super::{ModelGraph, Node, NodeId, ValueId};

impl<'a> ModelGraph<'a> {
    /// The inputs whose elements flow into the node's outputs: not those that only give shapes, axes or counts.
    pub(in crate::model) fn data_inputs<'s>(
        &'s self,
        node: &'s Node<'a>,
    ) -> impl Iterator<Item = ValueId> + use<'s, 'a> {
        node.inputs.iter().take(node.num_data_inputs as usize).flatten().copied()
    }

    /// The nodes that read a value as data.
    pub(in crate::model) fn data_consumers(&self, value: ValueId) -> impl Iterator<Item = NodeId> + use<'_, 'a> {
        let reads = move |id: &NodeId| {
            let node = self.node(*id);
            node.num_data_inputs == u32::MAX || self.data_inputs(node).any(|input| input == value)
        };
        self.consumers(value).iter().copied().filter(reads)
    }

    /// Element types of a node's outputs, and whether they depend on data.
    pub(super) fn infer_elements(&mut self, id: NodeId) {
        let node = self.node(id);
        let is_data = self.data_inputs(node).any(|input| self.value(input).is_data);
        for n in 0..node.outputs.len() {
            let node = self.node(id);
            let (output, element) = (node.outputs[n], self.element_of_output(node, n));
            let value = &mut self.values[output.index()];
            value.is_data = is_data;
            if value.element == 0 {
                value.element = element;
            }
        }
    }

    fn element_of_output(&self, node: &Node<'a>, output: usize) -> i32 {
        let of_input = |index: usize| node.input(index).map_or(0, |value| self.value(value).element);
        match (node.op, output) {
            ("Cast", _) => self.int(node, "to").and_then(|to| i32::try_from(to).ok()).unwrap_or(0),
            ("Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" | "Not" | "And" | "Or" | "Xor", _)
            | ("IsNaN" | "IsInf", _) => BOOL,
            ("Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" | "NonMaxSuppression", _) | ("TopK", 1) => INT64,
            ("ConstantOfShape", _) => {
                let filling = self.attribute(node, "value").and_then(|value| value.t.as_ref());
                filling.map_or(FLOAT, |tensor| tensor.data_type)
            }
            ("Where" | "If", _) => of_input(1),
            ("OneHot", _) => of_input(2),
            ("CastLike", _) => of_input(1),
            ("DequantizeLinear", _) => of_input(1),
            ("MatMulInteger" | "ConvInteger", _) => 6,
            ("QuantizeLinear", _) => of_input(2),
            ("DynamicQuantizeLinear", 0) => 2,
            ("DynamicQuantizeLinear", 1) => FLOAT,
            _ => of_input(0),
        }
    }
}

/// How many inputs of an operator carry data: all, or so many from the first.
pub(super) fn num_data_inputs(op: &str) -> u32 {
    match op {
        "Shape" | "Size" | "ConstantOfShape" | "RandomNormalLike" | "RandomUniformLike" | "EyeLike" | "Range" => 0,
        "Reshape" | "Expand" | "Slice" | "TopK" | "Unsqueeze" | "Squeeze" | "Tile" | "Pad" | "Split" | "Resize"
        | "OneHot" | "CumSum" | "Clip" | "Trilu" | "Upsample" | "SplitToSequence" | "CastLike" | "DequantizeLinear"
        | "QuantizeLinear" | "Dropout" | "SequenceAt" => 1,
        op if op.starts_with("Reduce") => 1,
        Node::COUNTER => 0,
        _ => u32::MAX,
    }
}

/// Operators that multiply data with weights, or data with data.
pub(in crate::model) fn is_product(op: &str) -> bool {
    matches!(
        op,
        "MatMul"
            | "Gemm"
            | "Conv"
            | "Einsum"
            | "FusedMatMul"
            | "FusedGemm"
            | "FusedConv"
            | "MatMulInteger"
            | "ConvInteger"
            | "QLinearMatMul"
            | "QLinearConv"
            | "QGemm"
            | "MatMulNBits"
            | "MatMulIntegerToFloat"
            | "DynamicQuantizeMatMul"
            | "ConvTranspose"
            | "QLinearGemm"
            | "GemmFastGelu"
            | "FusedMatMulActivation"
    )
}
