//! Opens a model file as a memory map: what is not looked at is never read, however large the weights are.

use super::ModelError;
use bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;

/// The bytes of a file, without reading them: parts of the result (`Bytes::slice`) keep the map alive and copy nothing.
///
/// # Errors
/// [`ModelError::Open`] when the file cannot be read or is not a regular file.
pub fn map_file(path: &Path) -> Result<Bytes, ModelError> {
    let cannot_open = |reason: String| ModelError::Open { path: path.to_owned(), reason };
    let io_problem = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => cannot_open("it does not exist".into()),
        io::ErrorKind::PermissionDenied => cannot_open("the permission to read it is missing".into()),
        _ => cannot_open(error.to_string()),
    };
    let metadata = path.metadata().map_err(io_problem)?;
    if metadata.is_dir() {
        return Err(cannot_open("it is a folder; choose the .onnx file in it".into()));
    }
    if !metadata.is_file() {
        return Err(cannot_open("it is not a regular file".into()));
    }
    let file = File::open(path).map_err(io_problem)?;
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: nothing writes through the map. A program that cuts the file off while it is looked at can end this one;
    // reading a large model into memory just for its graph would cost far more, far more often.
    let map = unsafe { Mmap::map(&file) }.map_err(io_problem)?;
    Ok(Bytes::from_owner(map))
}
