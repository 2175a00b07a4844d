//! Small graphs for tests, written down node by node.

use crate::model::proto::{
    AttributeProto, DimensionProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
};

/// A graph that grows node by node. Inputs and outputs of a node are given as words.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Sketch {
    pub graph: GraphProto,
    pub functions: Vec<FunctionProto>,
}

impl Sketch {
    /// With one image of tokens, `x`, float32.
    pub(in crate::model) fn with_input(shape: &[i64]) -> Self {
        let mut sketch = Self::default();
        sketch.input("x", 1, shape);
        sketch
    }

    pub(in crate::model) fn input(&mut self, name: &str, element: i32, shape: &[i64]) {
        self.graph.input.push(value(name, element, shape));
    }

    pub(in crate::model) fn weight(&mut self, name: &str, dims: &[i64]) {
        let count = dims.iter().product::<i64>() as usize;
        let float_data = (0..count).map(|n| (n % 7) as f32).collect();
        let tensor =
            TensorProto { dims: dims.into(), data_type: 1, name: name.into(), float_data, ..Default::default() };
        self.graph.initializer.push(tensor);
    }

    pub(in crate::model) fn scalar(&mut self, name: &str, value: f32) {
        let tensor = TensorProto { data_type: 1, name: name.into(), float_data: vec![value], ..Default::default() };
        self.graph.initializer.push(tensor);
    }

    pub(in crate::model) fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        let (dims, float_data) = (dims.to_vec(), values.to_vec());
        let tensor = TensorProto { dims, data_type: 1, name: name.into(), float_data, ..Default::default() };
        self.graph.initializer.push(tensor);
    }

    pub(in crate::model) fn ints(&mut self, name: &str, values: &[i64]) {
        let dims = vec![values.len() as i64];
        let int64_data = values.to_vec();
        let tensor = TensorProto { dims, data_type: 7, name: name.into(), int64_data, ..Default::default() };
        self.graph.initializer.push(tensor);
    }

    pub(in crate::model) fn int(&mut self, name: &str, value: i64) {
        let tensor = TensorProto { data_type: 7, name: name.into(), int64_data: vec![value], ..Default::default() };
        self.graph.initializer.push(tensor);
    }

    /// `op("MatMul", "x w", "y", &[])`; attributes are integers.
    pub(in crate::model) fn op(&mut self, op: &str, inputs: &str, outputs: &str, attributes: &[(&str, i64)]) {
        self.graph.node.push(node(op, inputs, outputs, attributes));
    }

    /// The same with a text attribute.
    pub(in crate::model) fn einsum(&mut self, equation: &'static str, inputs: &str, output: &str) {
        let mut node = node("Einsum", inputs, output, &[]);
        let s = Some(equation.as_bytes().into());
        node.attribute.push(AttributeProto {
            name: "equation".into(),
            r#type: attribute_type::STRING,
            s,
            ..Default::default()
        });
        self.graph.node.push(node);
    }

    /// The model, with these outputs.
    pub(in crate::model) fn model(mut self, outputs: &str) -> ModelProto {
        let outputs = outputs.split_whitespace();
        self.graph.output = outputs.map(|name| ValueInfoProto { name: name.into(), ..Default::default() }).collect();
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(self.graph),
            functions: self.functions,
            ..Default::default()
        }
    }
}

pub(in crate::model) fn value(name: &str, element: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = shape.iter().map(|&size| DimensionProto { dim_value: (size >= 0).then_some(size), ..Default::default() });
    let tensor = TensorTypeProto { elem_type: element, shape: Some(TensorShapeProto { dim: dim.collect() }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor), ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

/// Names in `inputs` and `outputs` are divided by spaces; `_` stands for one that is left out.
pub(in crate::model) fn node(op: &str, inputs: &str, outputs: &str, attributes: &[(&str, i64)]) -> NodeProto {
    let names = |text: &str| -> Vec<String> {
        text.split_whitespace().map(|name| if name == "_" { String::new() } else { name.to_owned() }).collect()
    };
    let attribute = |(name, value): &(&str, i64)| AttributeProto {
        name: (*name).to_owned(),
        r#type: attribute_type::INT,
        i: Some(*value),
        ..Default::default()
    };
    NodeProto {
        op_type: op.to_owned(),
        name: format!("{op}_{}", outputs.split_whitespace().next().unwrap_or("")),
        input: names(inputs),
        output: names(outputs),
        attribute: attributes.iter().map(attribute).collect(),
        ..Default::default()
    }
}

/// A node with a list of integers besides.
pub(in crate::model) fn with_ints(mut node: NodeProto, name: &str, ints: &[i64]) -> NodeProto {
    let ints = ints.to_vec();
    let r#type = attribute_type::INTS;
    node.attribute.push(AttributeProto { name: name.into(), r#type, ints, ..Default::default() });
    node
}

/// A node with a text besides.
pub(in crate::model) fn with_text(mut node: NodeProto, name: &str, text: &'static str) -> NodeProto {
    let (r#type, s) = (attribute_type::STRING, Some(text.as_bytes().into()));
    node.attribute.push(AttributeProto { name: name.into(), r#type, s, ..Default::default() });
    node
}

/// A node with a body besides.
pub(in crate::model) fn with_body(mut node: NodeProto, name: &str, body: GraphProto) -> NodeProto {
    let r#type = attribute_type::GRAPH;
    node.attribute.push(AttributeProto { name: name.into(), r#type, g: Some(body), ..Default::default() });
    node
}
