//! A valid model for each of many operators, the ones that ONNX Runtime's own faults were found in among them.

use super::Seed;
use moescope::model::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;
const INT64: i32 = 7;

/// One input of an operator.
enum In {
    /// A graph input of floats.
    X(&'static [i64]),
    /// A weight of floats.
    W(&'static [i64]),
    /// A weight of bytes: element type and sizes.
    B(i32, &'static [i64]),
    /// A weight of int64: its values, in one axis.
    I(&'static [i64]),
    /// One int64 without axes.
    Scalar(i64),
    /// Left out.
    No,
}
use In::{B, I, No, Scalar, W, X};

/// One attribute of an operator.
enum At {
    Int(&'static str, i64),
    Ints(&'static str, &'static [i64]),
    Float(&'static str, f32),
    Text(&'static str, &'static str),
}
use At::{Float, Int, Ints, Text};

/// Operator, domain and operator set, inputs, attributes, number of outputs.
type Row = (&'static str, &'static str, i64, &'static [In], &'static [At], usize);

const MS: &str = "com.microsoft";

const ROWS: &[Row] = &[
    (
        "Conv",
        "",
        17,
        &[X(&[1, 3, 8, 8]), W(&[4, 3, 3, 3])],
        &[Ints("pads", &[1, 1, 1, 1]), Ints("strides", &[2, 2]), Ints("dilations", &[1, 1]), Int("group", 1)],
        1,
    ),
    (
        "ConvTranspose",
        "",
        17,
        &[X(&[1, 3, 4, 4]), W(&[3, 2, 3, 3])],
        &[Ints("strides", &[2, 2]), Ints("output_padding", &[1, 1]), Ints("pads", &[1, 1, 1, 1])],
        1,
    ),
    (
        "MaxPool",
        "",
        17,
        &[X(&[1, 2, 8, 8])],
        &[Ints("kernel_shape", &[2, 2]), Ints("strides", &[2, 2]), Int("ceil_mode", 1), Ints("dilations", &[1, 1])],
        2,
    ),
    (
        "AveragePool",
        "",
        19,
        &[X(&[1, 2, 8, 8])],
        &[
            Ints("kernel_shape", &[3, 3]),
            Int("count_include_pad", 1),
            Ints("dilations", &[1, 1]),
            Ints("pads", &[1, 1, 1, 1]),
        ],
        1,
    ),
    ("LpPool", "", 18, &[X(&[1, 2, 8, 8])], &[Ints("kernel_shape", &[2, 2]), Int("p", 2)], 1),
    (
        "Resize",
        "",
        19,
        &[X(&[1, 1, 4, 4]), No, No, I(&[1, 1, 3, 5])],
        &[Text("mode", "linear"), Text("coordinate_transformation_mode", "half_pixel")],
        1,
    ),
    (
        "Resize",
        "",
        19,
        &[X(&[1, 1, 4, 4]), No, No, I(&[1, 1, 2, 2])],
        &[Text("mode", "cubic"), Float("cubic_coeff_a", -0.5), Int("antialias", 1)],
        1,
    ),
    ("GridSample", "", 20, &[X(&[1, 1, 4, 4]), W(&[1, 2, 2, 2])], &[Text("mode", "cubic"), Int("align_corners", 1)], 1),
    (
        "RoiAlign",
        "",
        16,
        &[X(&[1, 1, 6, 6]), W(&[1, 4]), I(&[0])],
        &[Int("output_height", 2), Int("output_width", 2), Int("sampling_ratio", 2), Float("spatial_scale", 1.0)],
        1,
    ),
    ("MaxRoiPool", "", 17, &[X(&[1, 1, 6, 6]), W(&[1, 5])], &[Ints("pooled_shape", &[2, 2])], 1),
    ("TopK", "", 17, &[X(&[4, 8]), I(&[2])], &[Int("axis", 1), Int("largest", 1), Int("sorted", 1)], 2),
    ("Gather", "", 17, &[X(&[4, 3]), I(&[0, 2])], &[Int("axis", 0)], 1),
    ("GatherElements", "", 17, &[X(&[4]), I(&[0, 2])], &[Int("axis", 0)], 1),
    ("GatherND", "", 17, &[X(&[4]), I(&[1])], &[Int("batch_dims", 0)], 1),
    ("ScatterElements", "", 18, &[X(&[4]), I(&[1, 2]), W(&[2])], &[Int("axis", 0), Text("reduction", "add")], 1),
    ("ScatterND", "", 18, &[X(&[4]), I(&[1]), W(&[])], &[Text("reduction", "none")], 1),
    ("Slice", "", 17, &[X(&[4, 4]), I(&[0, 1]), I(&[3, 4]), I(&[0, 1]), I(&[1, 2])], &[], 1),
    ("Pad", "", 18, &[X(&[2, 3]), I(&[0, 1, 0, 1])], &[Text("mode", "reflect")], 1),
    ("Concat", "", 17, &[X(&[2, 3]), W(&[2, 3])], &[Int("axis", 1)], 1),
    ("Split", "", 18, &[X(&[4, 2]), I(&[1, 3])], &[Int("axis", 0)], 2),
    ("Reshape", "", 17, &[X(&[2, 6]), I(&[3, -1])], &[Int("allowzero", 0)], 1),
    ("Transpose", "", 17, &[X(&[2, 3, 4])], &[Ints("perm", &[2, 0, 1])], 1),
    ("Expand", "", 17, &[X(&[1, 3]), I(&[2, 3])], &[], 1),
    ("Tile", "", 17, &[X(&[2, 2]), I(&[2, 1])], &[], 1),
    ("ConstantOfShape", "", 17, &[I(&[2, 3])], &[], 1),
    ("Range", "", 17, &[Scalar(0), Scalar(6), Scalar(2)], &[], 1),
    ("OneHot", "", 17, &[I(&[0, 2]), Scalar(3), W(&[2])], &[Int("axis", -1)], 1),
    ("CumSum", "", 17, &[X(&[2, 3]), Scalar(1)], &[Int("exclusive", 1), Int("reverse", 0)], 1),
    ("Einsum", "", 17, &[X(&[2, 3, 4]), W(&[2, 4, 5])], &[Text("equation", "bij, bjk -> bik")], 1),
    ("MatMul", "", 17, &[X(&[2, 3]), W(&[3, 4])], &[], 1),
    ("Gemm", "", 17, &[X(&[2, 3]), W(&[4, 3]), W(&[4])], &[Int("transB", 1), Float("alpha", 0.5)], 1),
    ("Softmax", "", 17, &[X(&[2, 3])], &[Int("axis", -1)], 1),
    ("LayerNormalization", "", 17, &[X(&[2, 3]), W(&[3]), W(&[3])], &[Int("axis", -1), Float("epsilon", 1e-5)], 3),
    ("InstanceNormalization", "", 17, &[X(&[1, 2, 3]), W(&[2]), W(&[2])], &[Float("epsilon", 1e-5)], 1),
    ("GroupNormalization", "", 21, &[X(&[1, 4, 2]), W(&[4]), W(&[4])], &[Int("num_groups", 2)], 1),
    ("BatchNormalization", "", 17, &[X(&[1, 2, 3]), W(&[2]), W(&[2]), W(&[2]), W(&[2])], &[Float("epsilon", 1e-5)], 1),
    ("LRN", "", 17, &[X(&[1, 4, 2, 2])], &[Int("size", 3), Float("alpha", 1e-4)], 1),
    ("ReduceSum", "", 17, &[X(&[2, 3]), I(&[1])], &[Int("keepdims", 0)], 1),
    ("ArgMax", "", 17, &[X(&[2, 3])], &[Int("axis", 1), Int("select_last_index", 1)], 1),
    ("DepthToSpace", "", 17, &[X(&[1, 8, 2, 2])], &[Int("blocksize", 2), Text("mode", "CRD")], 1),
    ("SpaceToDepth", "", 17, &[X(&[1, 2, 4, 4])], &[Int("blocksize", 2)], 1),
    ("Unsqueeze", "", 17, &[X(&[2, 3]), I(&[0])], &[], 1),
    ("Squeeze", "", 17, &[X(&[1, 3]), I(&[0])], &[], 1),
    ("Flatten", "", 17, &[X(&[2, 3, 4])], &[Int("axis", 1)], 1),
    ("NonZero", "", 17, &[X(&[2, 3])], &[], 1),
    ("Unique", "", 17, &[X(&[4])], &[Int("sorted", 1), Int("axis", 0)], 4),
    ("ReverseSequence", "", 17, &[X(&[4, 3]), I(&[1, 2, 3])], &[Int("batch_axis", 1), Int("time_axis", 0)], 1),
    ("Trilu", "", 17, &[X(&[3, 3]), Scalar(0)], &[Int("upper", 1)], 1),
    ("EyeLike", "", 17, &[X(&[3, 3])], &[Int("k", 1)], 1),
    ("Compress", "", 17, &[X(&[2, 3]), B(9, &[2])], &[Int("axis", 0)], 1),
    ("DFT", "", 20, &[X(&[1, 4, 1]), No, Scalar(1)], &[Int("onesided", 1), Int("inverse", 0)], 1),
    ("DFT", "", 17, &[X(&[1, 4, 1])], &[Int("axis", 1), Int("onesided", 0)], 1),
    ("STFT", "", 17, &[X(&[1, 16, 1]), Scalar(4), No, Scalar(8)], &[Int("onesided", 1)], 1),
    ("MelWeightMatrix", "", 17, &[Scalar(4), Scalar(8), Scalar(8000)], &[], 1),
    ("HannWindow", "", 17, &[Scalar(8)], &[Int("periodic", 1)], 1),
    (
        "LSTM",
        "",
        17,
        &[X(&[3, 1, 2]), W(&[1, 8, 2]), W(&[1, 8, 2])],
        &[Int("hidden_size", 2), Text("direction", "forward")],
        2,
    ),
    (
        "GRU",
        "",
        17,
        &[X(&[3, 1, 2]), W(&[1, 6, 2]), W(&[1, 6, 2])],
        &[Int("hidden_size", 2), Int("linear_before_reset", 1)],
        2,
    ),
    ("RNN", "", 17, &[X(&[3, 1, 2]), W(&[1, 2, 2]), W(&[1, 2, 2])], &[Int("hidden_size", 2), Float("clip", 1.0)], 2),
    (
        "Attention",
        "",
        23,
        &[X(&[1, 2, 8]), W(&[1, 2, 8]), W(&[1, 2, 8])],
        &[Int("q_num_heads", 2), Int("kv_num_heads", 2), Int("is_causal", 1)],
        1,
    ),
    ("RMSNormalization", "", 23, &[X(&[2, 4]), W(&[4])], &[Int("axis", -1)], 1),
    ("RotaryEmbedding", "", 23, &[X(&[1, 2, 2, 4]), W(&[1, 2, 2]), W(&[1, 2, 2])], &[Int("interleaved", 1)], 1),
    ("MatMulInteger", "", 17, &[B(UINT8, &[2, 3]), B(INT8, &[3, 2])], &[], 1),
    (
        "ConvInteger",
        "",
        17,
        &[B(UINT8, &[1, 1, 3, 3]), B(UINT8, &[1, 1, 2, 2]), B(UINT8, &[])],
        &[Ints("pads", &[0, 0, 0, 0])],
        1,
    ),
    ("QuantizeLinear", "", 21, &[X(&[2, 4]), W(&[4]), B(INT8, &[4])], &[Int("axis", 1)], 1),
    ("DequantizeLinear", "", 21, &[B(INT8, &[2, 4]), W(&[2, 2])], &[Int("axis", 1), Int("block_size", 2)], 1),
    ("NonMaxSuppression", "", 17, &[X(&[1, 3, 4]), W(&[1, 1, 3]), Scalar(2)], &[Int("center_point_box", 1)], 1),
    ("AffineGrid", "", 20, &[X(&[1, 2, 3]), I(&[1, 1, 2, 2])], &[Int("align_corners", 1)], 1),
    ("Col2Im", "", 18, &[X(&[1, 4, 4]), I(&[3, 3]), I(&[2, 2])], &[Ints("strides", &[1, 1])], 1),
    ("CenterCropPad", "", 18, &[X(&[4, 4]), I(&[2, 6])], &[Ints("axes", &[0, 1])], 1),
    ("BitShift", "", 17, &[B(UINT8, &[4]), B(UINT8, &[4])], &[Text("direction", "LEFT")], 1),
    ("Mod", "", 17, &[B(INT32, &[4]), B(INT32, &[4])], &[Int("fmod", 0)], 1),
    (
        "MoE",
        MS,
        17,
        &[X(&[2, 4]), W(&[2, 3]), W(&[3, 8, 4]), No, W(&[3, 4, 8])],
        &[Int("k", 2), Text("activation_type", "relu"), Int("normalize_routing_weights", 1)],
        1,
    ),
    ("MultiHeadAttention", MS, 17, &[X(&[1, 2, 8]), W(&[1, 2, 8]), W(&[1, 2, 8])], &[Int("num_heads", 2)], 1),
    ("Attention", MS, 17, &[X(&[1, 2, 4]), W(&[4, 12]), W(&[12])], &[Int("num_heads", 2)], 1),
    ("FusedMatMul", MS, 17, &[X(&[2, 3]), W(&[4, 3])], &[Int("transB", 1), Float("alpha", 2.0)], 1),
    ("SkipLayerNormalization", MS, 17, &[X(&[1, 2, 4]), W(&[1, 2, 4]), W(&[4])], &[Float("epsilon", 1e-5)], 1),
    ("FusedConv", MS, 17, &[X(&[1, 3, 4, 4]), W(&[2, 3, 3, 3])], &[Text("activation", "Relu")], 1),
    ("Gelu", MS, 17, &[X(&[2, 3])], &[], 1),
];

/// A model for each row.
pub(super) fn seeds() -> impl Iterator<Item = Seed> {
    ROWS.iter().map(seed)
}

fn seed(&(operator, domain, opset, inputs, attributes, num_outputs): &Row) -> Seed {
    let mut graph = GraphProto { name: "graph".into(), ..Default::default() };
    let mut names = Vec::new();
    for (at, input) in inputs.iter().enumerate() {
        let name = format!("in{at}");
        match input {
            No => {
                names.push(String::new());
                continue;
            }
            X(dims) => graph.input.push(ends(&name, Some(dims))),
            weight => graph.initializer.push(tensor(&name, weight)),
        }
        names.push(name);
    }
    let outputs: Vec<String> = (0..num_outputs).map(|at| format!("out{at}")).collect();
    graph.output = outputs.iter().map(|name| ValueInfoProto { name: name.clone(), ..Default::default() }).collect();
    graph.node = vec![NodeProto {
        op_type: operator.into(),
        domain: domain.into(),
        input: names,
        output: outputs,
        attribute: attributes.iter().map(attribute).collect(),
        ..Default::default()
    }];
    let import = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
    let model = ModelProto {
        ir_version: 10,
        graph: Some(graph),
        opset_import: vec![import("", opset), import(MS, 1)],
        ..Default::default()
    };
    Seed { name: format!("{operator} {opset}"), model }
}

fn ends(name: &str, dims: Option<&[i64]>) -> ValueInfoProto {
    let dim = |&size: &i64| DimensionProto { dim_value: Some(size), ..Default::default() };
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: FLOAT, shape });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type, ..Default::default() }),
        ..Default::default()
    }
}

fn tensor(name: &str, input: &In) -> TensorProto {
    let bytes = |dims: &[i64], bytes: i64| (dims.iter().product::<i64>() * bytes) as usize;
    let (data_type, dims, raw) = match input {
        X(dims) | W(dims) => (FLOAT, dims.to_vec(), 0.5_f32.to_le_bytes().repeat(bytes(dims, 1))),
        B(data_type, dims) => {
            (*data_type, dims.to_vec(), vec![1; bytes(dims, if *data_type == INT32 { 4 } else { 1 })])
        }
        I(values) => (INT64, vec![values.len() as i64], values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Scalar(value) => (INT64, Vec::new(), value.to_le_bytes().to_vec()),
        No => (FLOAT, Vec::new(), Vec::new()),
    };
    TensorProto { name: name.into(), data_type, dims, raw_data: Some(raw.into()), ..Default::default() }
}

fn attribute(attribute: &At) -> AttributeProto {
    let plain = |name: &str, r#type| AttributeProto { name: name.into(), r#type, ..Default::default() };
    match *attribute {
        Float(name, f) => AttributeProto { f: Some(f), ..plain(name, 1) },
        Int(name, i) => AttributeProto { i: Some(i), ..plain(name, 2) },
        Text(name, s) => AttributeProto { s: Some(s.as_bytes().into()), ..plain(name, 3) },
        Ints(name, ints) => AttributeProto { ints: ints.into(), ..plain(name, 7) },
    }
}
