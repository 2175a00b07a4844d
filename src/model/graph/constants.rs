//! Values that the file itself holds: integers that shape a graph, and the scalars of its formulas.

use super::{ModelGraph, Shape, Source, ValueId};
use crate::model::proto::{AttributeProto, TensorProto};
use half::{bf16, f16};
use smallvec::smallvec;

/// Tensors of more elements are weights, not parts of a formula.
const MAX_ELEMENTS: usize = 256;

/// `TensorProto.DataType`.
pub(super) const FLOAT: i32 = 1;
pub(super) const INT64: i32 = 7;
pub(in crate::model) const BOOL: i32 = 9;

/// Whether elements of this type are floats: float32, float16, float64, bfloat16, or float8.
pub(in crate::model) fn is_float(element: i32) -> bool {
    matches!(element, 1 | 10 | 11 | 16..=20 | 23 | 24)
}

/// Whether elements of this type are what quantised weights consist of: 8, 4 or 2 bits.
pub(in crate::model) fn is_quantized(element: i32) -> bool {
    matches!(element, 2 | 3 | 21 | 22 | 25 | 26)
}

/// Sizes of a tensor's axes; `None` where one is negative.
pub(super) fn shape_of(tensor: &TensorProto) -> Option<Shape> {
    tensor.dims.iter().all(|&dim| dim >= 0).then(|| tensor.dims.as_slice().into())
}

/// A size as shapes write it.
pub(super) fn num_or_unknown(size: Option<i64>) -> i64 {
    size.filter(|&size| size >= 0).unwrap_or(-1)
}

fn len_of(tensor: &TensorProto) -> Option<usize> {
    tensor.dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
}

/// The elements of a small tensor of integers or truth values.
pub(super) fn small_ints(tensor: &TensorProto) -> Option<Vec<Option<i64>>> {
    let is_small = len_of(tensor)? <= MAX_ELEMENTS && tensor.dims.len() <= 2;
    is_small.then(|| ints_of(tensor))?.map(|ints| ints.into_iter().map(Some).collect())
}

/// The elements of a tensor of integers or truth values in the file.
fn ints_of(tensor: &TensorProto) -> Option<Vec<i64>> {
    let len = len_of(tensor).filter(|&len| len <= MAX_TABLE && !tensor.is_external())?;
    let raw = tensor.raw_data.as_deref().filter(|raw| !raw.is_empty());
    let ints: Vec<i64> = match (tensor.data_type, raw) {
        (7, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        (6, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect(),
        (2 | 9, Some(raw)) => raw.iter().map(|&byte| byte.into()).collect(),
        (3, Some(raw)) => raw.iter().map(|&byte| (byte as i8).into()).collect(),
        (7, None) => tensor.int64_data.clone(),
        (2 | 3 | 6 | 9, None) => tensor.int32_data.iter().map(|&int| int.into()).collect(),
        _ => return None,
    };
    (ints.len() == len).then_some(ints)
}

/// Tables of more integers than this do not say where something lies.
const MAX_TABLE: usize = 1 << 20;

fn small_floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    let len = len_of(tensor).filter(|&len| len <= MAX_ELEMENTS && !tensor.is_external())?;
    let raw = tensor.raw_data.as_deref().filter(|raw| !raw.is_empty());
    let floats: Vec<f32> = match (tensor.data_type, raw) {
        (1, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        (10, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        (11, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        (16, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        (1, None) => tensor.float_data.clone(),
        (11, None) => tensor.double_data.iter().map(|&float| float as f32).collect(),
        (10, None) => tensor.int32_data.iter().map(|&bits| f16::from_bits(bits as u16).to_f32()).collect(),
        (16, None) => tensor.int32_data.iter().map(|&bits| bf16::from_bits(bits as u16).to_f32()).collect(),
        _ => return None,
    };
    (floats.len() == len).then_some(floats)
}

/// Element type and shape of a `Constant` node's value.
pub(super) fn element_of(constant: &AttributeProto) -> (i32, Option<Shape>) {
    match constant.name.as_str() {
        "value" => constant.t.as_ref().map_or((0, None), |tensor| (tensor.data_type, shape_of(tensor))),
        "value_int" => (INT64, Some(Shape::new())),
        "value_ints" => (INT64, Some(smallvec![constant.ints.len() as i64])),
        "value_float" => (FLOAT, Some(Shape::new())),
        "value_floats" => (FLOAT, Some(smallvec![constant.floats.len() as i64])),
        _ => (0, None),
    }
}

/// The integers of a `Constant` node's value.
pub(super) fn attribute_ints(constant: &AttributeProto) -> Option<Vec<Option<i64>>> {
    match constant.name.as_str() {
        "value" => small_ints(constant.t.as_ref()?),
        "value_int" => Some(vec![constant.i]),
        "value_ints" if constant.ints.len() <= MAX_ELEMENTS => Some(constant.ints.iter().copied().map(Some).collect()),
        _ => None,
    }
}

impl ModelGraph<'_> {
    /// All elements of a small tensor of integers, where all are known.
    pub(in crate::model) fn const_ints(&self, value: ValueId) -> Option<Vec<i64>> {
        self.value(value).ints.as_ref()?.iter().copied().collect()
    }

    /// All elements of a tensor of integers, which may be a long table in the file.
    pub(in crate::model) fn all_ints(&self, value: ValueId) -> Option<Vec<i64>> {
        let table = || match self.value(value).source {
            Source::Initializer(tensor) => ints_of(tensor),
            Source::Constant(attribute) => ints_of(attribute.t.as_ref()?),
            _ => None,
        };
        self.const_ints(value).or_else(table)
    }

    /// The only element of an integer tensor.
    pub(in crate::model) fn const_int(&self, value: ValueId) -> Option<i64> {
        match self.value(value).ints.as_deref()? {
            [int] => *int,
            _ => None,
        }
    }

    /// The only element of a tensor, seen through casts and reshapes.
    pub(in crate::model) fn const_scalar(&self, value: ValueId) -> Option<f32> {
        self.const_floats(value).filter(|floats| floats.len() == 1).map(|floats| floats[0])
    }

    /// Whether a tensor is made of zeros alone, as far as the file itself says so.
    pub(in crate::model) fn is_zeros(&self, value: ValueId) -> bool {
        let raw = match self.value(value).source {
            Source::Initializer(tensor) => tensor.raw_data.as_deref(),
            Source::Constant(attribute) => attribute.t.as_ref().and_then(|tensor| tensor.raw_data.as_deref()),
            _ => None,
        };
        let is_raw =
            raw.is_some_and(|raw| !raw.is_empty() && raw.len() <= MAX_TABLE && raw.iter().all(|&byte| byte == 0));
        is_raw || self.const_floats(value).is_some_and(|floats| floats.iter().all(|&float| float == 0.0))
    }

    /// The elements of a small tensor that the file holds, seen through casts and reshapes.
    pub(in crate::model) fn const_floats(&self, value: ValueId) -> Option<Vec<f32>> {
        /// Longer chains of casts around a constant do not occur.
        const MAX_STEPS: usize = 8;
        let mut value = value;
        for _ in 0..MAX_STEPS {
            if let Some(ints) = self.const_ints(value) {
                return Some(ints.into_iter().map(|int| int as f32).collect());
            }
            match self.value(value).source {
                Source::Initializer(tensor) => return small_floats(tensor),
                Source::Constant(attribute) => return attribute_floats(attribute),
                Source::Node(id) => {
                    let node = self.node(id);
                    match node.op {
                        "Cast" | "CastLike" | "Identity" | "Reshape" | "Unsqueeze" | "Squeeze" | "Expand" => {
                            value = node.input(0)?;
                        }
                        "ConstantOfShape" => {
                            let filling = self.attribute(node, "value").and_then(|value| value.t.as_ref());
                            return filling.map_or(Some(vec![0.0]), small_floats);
                        }
                        _ => return None,
                    }
                }
                Source::Input(_) | Source::Unknown => return None,
            }
        }
        None
    }
}

fn attribute_floats(constant: &AttributeProto) -> Option<Vec<f32>> {
    match constant.name.as_str() {
        "value" => small_floats(constant.t.as_ref()?),
        "value_float" => Some(vec![constant.f?]),
        "value_floats" => Some(constant.floats.clone()),
        _ => None,
    }
}
