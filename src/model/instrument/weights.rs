//! Leaves weights where they are: an edited model tells where they lie in the original file, so that it stays small.

use crate::model::proto::{GraphProto, StringStringEntryProto, TensorProto};
use bytes::Bytes;

/// Smaller weights stay where they are: ONNX Runtime folds constants only if their values lie in the model.
const MIN_EXTERNAL_BYTES: usize = 1024;

/// Replaces the bytes of larger weights by where they lie in the file.
pub(super) fn point_at_file(graph: &mut GraphProto, file: &Bytes, file_name: &str) {
    let whole = file.as_ptr_range();
    for tensor in &mut graph.initializer {
        let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() >= MIN_EXTERNAL_BYTES) else { continue };
        let place = raw.as_ptr_range();
        if place.start < whole.start || place.end > whole.end {
            continue;
        }
        let offset = place.start as usize - whole.start as usize;
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        tensor.external_data = vec![
            entry("location", file_name.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(TensorProto::EXTERNAL);
        tensor.raw_data = None;
    }
}
