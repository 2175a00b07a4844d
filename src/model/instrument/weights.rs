//! Leaves weights where they are: an edited model tells where they lie in the original file, so that it stays small.
//!
//! Models in a download cache are links to files with other names in another folder, and ONNX Runtime opens no weights
//! through links when the model itself comes from memory. So all places are told by their real names.

use super::InstrumentError;
use super::places::for_each_tensor;
use crate::model::proto::{ModelProto, StringStringEntryProto, TensorProto};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// Smaller weights stay where they are: ONNX Runtime folds constants only if their values lie in the model.
const MIN_EXTERNAL_BYTES: usize = 1024;

/// Replaces the bytes of larger weights by where they lie in the file, and places by what links lead to.
pub(super) fn point_at_file(model: &mut ModelProto, file: &Bytes, path: &Path) -> Result<(), InstrumentError> {
    let real = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
    if let Some(real) = &real {
        follow_links(model, path, real);
    }
    let name = real.as_deref().unwrap_or(path).file_name();
    let name = name.and_then(|name| name.to_str()).ok_or(InstrumentError::FileName)?;
    let whole = file.as_ptr_range();
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() >= MIN_EXTERNAL_BYTES) else { continue };
        let place = raw.as_ptr_range();
        if place.start < whole.start || place.end > whole.end {
            continue;
        }
        let offset = place.start as usize - whole.start as usize;
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        tensor.external_data = vec![
            entry("location", name.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", raw.len().to_string()),
        ];
        tensor.data_location = Some(TensorProto::EXTERNAL);
        tensor.raw_data = None;
    }
    Ok(())
}

/// Names the files of weights beside a link as they are called beside what it leads to. `model::external` has checked
/// that they lie there.
fn follow_links(model: &mut ModelProto, path: &Path, real: &Path) {
    let beside = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
    let (folder, real_folder) = (beside(path), beside(real));
    let real_name = |location: &str| -> Option<String> {
        let file: PathBuf = folder.join(location).canonicalize().ok()?;
        Some(file.strip_prefix(&real_folder).ok()?.to_str()?.to_owned())
    };
    for_each_tensor(model, &mut |tensor| {
        for entry in tensor.external_data.iter_mut().filter(|entry| entry.key == "location") {
            if let Some(name) = real_name(&entry.value) {
                entry.value = name;
            }
        }
    });
}
