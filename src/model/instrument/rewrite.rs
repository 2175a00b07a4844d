//! Puts the controls of one node in its place: the nodes that stand for it afterwards compute the same as long as the
//! controls have their defaults.

use super::choice::Along;
use super::inputs::{FLOAT, INT64};
use crate::model::proto::{AttributeProto, NodeProto, TensorProto, attribute_type};

/// Added to logits of ranks that are left out: a softmax makes nothing of them, and float16 can hold it.
const ABSENT_LOGIT: f32 = 3e4;

/// What happens to one node. Names are those of the model's new inputs.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeEdit {
    /// Takes the place of a `TopK`'s k.
    pub top_k: Option<String>,
    /// Added to the scores that a `TopK`, `ArgMax` or `ReduceMax` takes the largest of.
    pub bias: Option<(String, Along)>,
    /// Multiplied with the first output; with whether it is weights rather than logits.
    pub ranks: Option<(String, Along, bool)>,
}

/// The nodes that stand for `node`. `prefix` is one that no other name in the model begins with.
pub(super) fn rewritten(mut node: NodeProto, edit: &NodeEdit, prefix: &str) -> Vec<NodeProto> {
    let mut list = Nodes { nodes: Vec::new(), prefix, last: 0 };
    if let Some(top_k) = &edit.top_k {
        node.input[1].clone_from(top_k);
    }
    if edit.top_k.is_some() || edit.ranks.is_some() {
        // What is asked for unsorted has no ranks.
        node.attribute.retain(|attribute| attribute.name != "sorted");
    }
    let shown = node.output[0].clone();
    let mut weights = shown.clone();
    match &edit.bias {
        Some((bias, along)) => {
            let scores = node.input[0].clone();
            let biased = list.biased(&scores, bias, *along);
            if node.op_type == "ReduceMax" {
                // The weight of the best by the biased scores is its own score; a maximum over it alone changes nothing.
                let best = list.give("ArgMax", &[&biased], vec![int("axis", along.axis), int("keepdims", 1)]);
                node.input[0] = list.give("GatherElements", &[&scores, &best], vec![int("axis", along.axis)]);
                list.nodes.push(node);
            } else {
                node.input[0] = biased;
                if node.op_type == "TopK" {
                    node.output[0] = list.name();
                    let ids = node.output[1].clone();
                    list.nodes.push(node);
                    weights = if edit.ranks.is_some() { list.name() } else { shown.clone() };
                    if !weights.is_empty() {
                        list.add("GatherElements", &[&scores, &ids], &weights, vec![int("axis", along.axis)]);
                    }
                } else {
                    list.nodes.push(node);
                }
            }
        }
        None => {
            if edit.ranks.is_some() {
                weights = list.name();
                node.output[0].clone_from(&weights);
            }
            list.nodes.push(node);
        }
    }
    if let Some((ranks, along, scored)) = &edit.ranks {
        list.ranked(&weights, ranks, *along, *scored, &shown);
    }
    list.nodes
}

struct Nodes<'a> {
    nodes: Vec<NodeProto>,
    prefix: &'a str,
    /// How many names were given.
    last: usize,
}

impl Nodes<'_> {
    fn name(&mut self) -> String {
        self.last += 1;
        format!("{}.{}", self.prefix, self.last)
    }

    fn add(&mut self, op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        // A node may be called as its output is, so that a name of its own is needed.
        let name = self.name();
        self.nodes.push(NodeProto {
            op_type: op.into(),
            name,
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }

    /// Adds a node and gives its output.
    fn give(&mut self, op: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let output = self.name();
        self.add(op, inputs, &output, attribute);
        output
    }

    fn ints(&mut self, ints: &[i64]) -> String {
        let tensor = TensorProto {
            dims: vec![ints.len() as i64],
            data_type: INT64,
            int64_data: ints.to_vec(),
            ..TensorProto::default()
        };
        self.give("Constant", &[], vec![tensor_attribute(tensor)])
    }

    fn float(&mut self, float: f32) -> String {
        let tensor = TensorProto { data_type: FLOAT, float_data: vec![float], ..TensorProto::default() };
        self.give("Constant", &[], vec![tensor_attribute(tensor)])
    }

    /// Lays a float32 vector along an axis of a tensor, in that tensor's type.
    fn laid(&mut self, vector: &str, along: Along) -> String {
        let mut laid = vector.to_owned();
        if along.axis < -1 {
            let mut shape = vec![1; along.axis.unsigned_abs() as usize];
            shape[0] = -1;
            let shape = self.ints(&shape);
            laid = self.give("Reshape", &[&laid, &shape], Vec::new());
        }
        if along.element != FLOAT {
            laid = self.give("Cast", &[&laid], vec![int("to", along.element.into())]);
        }
        laid
    }

    fn biased(&mut self, scores: &str, bias: &str, along: Along) -> String {
        let bias = self.laid(bias, along);
        self.give("Add", &[scores, &bias], Vec::new())
    }

    /// Leaves ranks out of weights, or of logits that a softmax or sigmoid will make weights of.
    fn ranked(&mut self, weights: &str, ranks: &str, along: Along, scored: bool, output: &str) {
        let shape = self.give("Shape", &[weights], Vec::new());
        let axis = self.ints(&[along.axis]);
        let num_ranks = self.give("Gather", &[&shape, &axis], Vec::new());
        let first = self.ints(&[0]);
        let mut ranks = self.give("Slice", &[ranks, &first, &num_ranks], Vec::new());
        if !scored {
            let (one, absent) = (self.float(1.0), self.float(ABSENT_LOGIT));
            let less = self.give("Sub", &[&ranks, &one], Vec::new());
            ranks = self.give("Mul", &[&less, &absent], Vec::new());
        }
        let ranks = self.laid(&ranks, along);
        self.add(if scored { "Mul" } else { "Add" }, &[weights, &ranks], output, Vec::new());
    }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: attribute_type::INT, i: Some(value), ..AttributeProto::default() }
}

fn tensor_attribute(tensor: TensorProto) -> AttributeProto {
    AttributeProto {
        name: "value".into(),
        r#type: attribute_type::TENSOR,
        t: Some(tensor),
        ..AttributeProto::default()
    }
}
