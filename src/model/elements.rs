//! ONNX's element types (`TensorProto.DataType`): their names and sizes, and the small tensors of numbers that shape a
//! graph.

use super::proto::TensorProto;

const INT64: i32 = 7;

/// Name as NumPy has it, and bits of one element (0 where it has no fixed size), by number.
const TYPES: [(&str, u64); 25] = [
    ("unknown", 0),
    ("float32", 32),
    ("uint8", 8),
    ("int8", 8),
    ("uint16", 16),
    ("int16", 16),
    ("int32", 32),
    ("int64", 64),
    ("string", 0),
    ("bool", 8),
    ("float16", 16),
    ("float64", 64),
    ("uint32", 32),
    ("uint64", 64),
    ("complex64", 64),
    ("complex128", 128),
    ("bfloat16", 16),
    ("float8e4m3fn", 8),
    ("float8e4m3fnuz", 8),
    ("float8e5m2", 8),
    ("float8e5m2fnuz", 8),
    ("uint4", 4),
    ("int4", 4),
    ("float4e2m1", 4),
    ("float8e8m0", 8),
];

fn element(data_type: i32) -> Option<(&'static str, u64)> {
    usize::try_from(data_type).ok().and_then(|index| TYPES.get(index)).copied()
}

/// The type's name; `unknown` for a number that this version does not know.
pub(super) fn element_name(data_type: i32) -> &'static str {
    element(data_type).map_or("unknown", |(name, _)| name)
}

/// Bits of one element; `None` where it has no fixed size.
pub(super) fn element_bits(data_type: i32) -> Option<u64> {
    element(data_type).map(|(_, bits)| bits).filter(|&bits| bits > 0)
}

/// The values of an int64 tensor that lies in the file; `None` for any other, and for more values than a shape has.
pub(super) fn int64_values(tensor: &TensorProto) -> Option<Vec<i64>> {
    const MOST: usize = 64;
    if tensor.data_type != INT64 || tensor.is_external() {
        return None;
    }
    let values = match &tensor.raw_data {
        Some(raw) if raw.len() <= MOST * size_of::<i64>() => {
            raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
        }
        None if tensor.int64_data.len() <= MOST => tensor.int64_data.clone(),
        _ => return None,
    };
    Some(values)
}
