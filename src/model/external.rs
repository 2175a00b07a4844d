//! Weights in other files: a model names them, so a model could name any file. Only regular files of their own inside of
//! the model's folder are let through; nothing is opened to find out.
//!
//! ONNX Runtime 1.31 checks most of this itself, except for hard links, and only once it holds the file.

use super::ModelError;
use super::elements::element_bits;
use super::error::ExternalFault;
use super::proto::{ModelProto, TensorProto};
use super::visit::tensors;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, PathBuf};

/// ONNX Runtime's own marks for weights that lie at an address in memory begin like this.
const MEMORY_ADDRESS: &str = "*/_ORT_";

/// Checks every tensor of `model` that lies in another file.
///
/// # Errors
/// [`ModelError::External`] for the first tensor whose place is not allowed, not there, or not large enough.
pub(super) fn check(path: &Path, model: &ModelProto) -> Result<(), ModelError> {
    let mut known: BTreeMap<&str, u64> = BTreeMap::new();
    tensors(model, &mut |tensor| {
        if !tensor.is_external() {
            return Ok(());
        }
        let location = entry(tensor, "location").unwrap_or_default();
        let fault = |fault| ModelError::External {
            path: path.to_owned(),
            tensor: tensor.name.clone(),
            location: location.to_owned(),
            fault,
        };
        let file_bytes = match known.get(location) {
            Some(bytes) => *bytes,
            None => *known.entry(location).or_insert(size_of_file(path, location).map_err(fault)?),
        };
        check_range(tensor, file_bytes).map_err(fault)
    })
}

/// The other files that a model names, each once; whether they may be used, [`check`] says.
pub(super) fn files(path: &Path, model: &ModelProto) -> Vec<PathBuf> {
    let mut locations = BTreeSet::new();
    let Ok(()) = tensors(model, &mut |tensor| -> Result<(), Infallible> {
        locations.extend(entry(tensor, "location").filter(|_| tensor.is_external()));
        Ok(())
    });
    locations.into_iter().map(|location| folder(path).join(location)).collect()
}

/// Where the file of a location has to be put that is missing; `None` where a person should not be offered to have it put
/// there: into a folder that is not there or leads elsewhere, or under a hidden name, which programs read on their own.
pub(super) fn place_of_missing(model: &Path, location: &str) -> Option<PathBuf> {
    let place = folder(model).join(location);
    let hidden = place.file_name()?.to_string_lossy().starts_with('.');
    let [real_parent, real_folder] = [place.parent()?, folder(model)].map(|path| path.canonicalize().ok());
    let (real_parent, real_folder) = (real_parent?, real_folder?);
    (real_parent.starts_with(real_folder) && real_parent.is_dir() && !hidden).then_some(place)
}

/// The folder of a model; a path without one is in the working folder.
fn folder(model: &Path) -> &Path {
    model.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// Size of the file at a location that may be used.
fn size_of_file(model: &Path, location: &str) -> Result<u64, ExternalFault> {
    let relative = Path::new(location);
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if location.is_empty() {
        return Err(ExternalFault::Unnamed);
    }
    if !relative.components().all(plain) || location.starts_with(MEMORY_ADDRESS) {
        return Err(ExternalFault::Outside);
    }
    let folder = folder(model);
    let file = folder.join(relative);
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ExternalFault::Missing { folder: folder.to_owned() },
        _ => ExternalFault::Unreadable { reason: error.to_string() },
    };
    check_links(model, folder, &file, unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(ExternalFault::NotAFile);
    }
    if num_links(&metadata) != 1 {
        return Err(ExternalFault::HardLink);
    }
    Ok(metadata.len())
}

/// A link may lead anywhere. One case is let through: Hugging Face's cache has links for both the model and its weights,
/// to files side by side in another folder.
fn check_links(
    model: &Path,
    folder: &Path,
    file: &Path,
    unreadable: impl Fn(io::Error) -> ExternalFault,
) -> Result<(), ExternalFault> {
    let is_link = |path: &Path| path.symlink_metadata().map(|metadata| metadata.is_symlink());
    let real = |path: &Path| path.canonicalize().map_err(&unreadable);
    let file_is_link = is_link(file).map_err(&unreadable)?;
    if is_link(model).unwrap_or(false) && real(file)?.parent() == real(model)?.parent() {
        return Ok(());
    }
    match (file_is_link, real(file)?.starts_with(real(folder)?)) {
        (true, _) => Err(ExternalFault::SymbolicLink),
        (false, false) => Err(ExternalFault::Outside),
        (false, true) => Ok(()),
    }
}

#[cfg(unix)]
fn num_links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// The standard library does not tell elsewhere.
#[cfg(not(unix))]
fn num_links(_: &Metadata) -> u64 {
    1
}

/// The values of a tensor lie inside of its file. Sizes that the file does not tell are left to ONNX Runtime.
fn check_range(tensor: &TensorProto, file_bytes: u64) -> Result<(), ExternalFault> {
    let number = |key| match entry(tensor, key) {
        None => Ok(0),
        Some(text) => {
            text.parse::<u64>().map_err(|_| ExternalFault::NotANumber { key, text: text.chars().take(40).collect() })
        }
    };
    let (offset, length) = (number("offset")?, number("length")?);
    let values = tensor.dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(u64::try_from(dim).ok()?));
    let bits = values.and_then(|values| values.checked_mul(element_bits(tensor.data_type).unwrap_or(0)));
    let needed = bits.map_or(u64::MAX, |bits| bits.div_ceil(8)).max(length);
    match offset.checked_add(needed) {
        Some(end) if end <= file_bytes => Ok(()),
        _ => Err(ExternalFault::TooShort { offset, needed, file_bytes }),
    }
}
