//! Every input and output of a run as `.npy` files, so that any other program can check the result.
//!
//! `index.json` names the files; it is written last, so a folder with one is complete. Each file appears whole or not
//! at all.

use super::change::{self, LayerChangeRecord};
use crate::analysis::{Analysis, OpenModel};
use crate::engine::{Tensor, TensorData};
use crate::report::write_whole;
use anyhow::Context;
use ndarray::{ArrayView, IxDyn};
use ndarray_npy::{WritableElement, WriteNpyError, WriteNpyExt};
use serde::Serialize;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What was run.
pub(super) struct About<'a> {
    pub(super) image: &'a Path,
    pub(super) model: &'a OpenModel,
    pub(super) analysis: &'a Analysis,
}

/// `index.json`.
#[derive(Serialize)]
struct Index<'a> {
    schema: &'static str,
    image: String,
    model: String,
    top_k: Option<usize>,
    routing_change: Vec<LayerChangeRecord<'a>>,
    tensors: Vec<Entry<'a>>,
}

/// One tensor of the run.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    role: &'static str,
    file: String,
    dtype: &'static str,
    shape: &'a [usize],
}

/// The folder of each image: `root` itself for one, else a folder in it with the image's name, numbered where several
/// have the same.
pub(super) fn folders(root: &Path, images: &[PathBuf]) -> Vec<PathBuf> {
    if images.len() == 1 {
        return vec![root.to_path_buf()];
    }
    let mut taken = HashSet::new();
    let stems = images.iter().map(|image| image.file_stem().map_or("image".into(), |stem| stem.to_string_lossy()));
    stems.map(|stem| root.join(unique(&mut taken, &stem))).collect()
}

/// Writes `inputs`, `outputs` and then `index.json` into `folder`, which is made if it is not there.
pub(super) fn write(folder: &Path, about: &About<'_>, inputs: &[Tensor], outputs: &[Tensor]) -> anyhow::Result<()> {
    let cannot_write = || format!("cannot write to {}", folder.display());
    fs::create_dir_all(folder).with_context(cannot_write)?;
    let mut taken = HashSet::new();
    let mut tensors = Vec::new();
    let roles = [("input", inputs), ("output", outputs)];
    for (role, tensor) in roles.into_iter().flat_map(|(role, tensors)| tensors.iter().map(move |tensor| (role, tensor)))
    {
        let file = format!("{}.npy", unique(&mut taken, &tensor.name));
        let dtype = match &tensor.data {
            TensorData::F32(values) => write_npy(folder, &file, &tensor.shape, values).map(|()| "float32"),
            TensorData::I64(values) => write_npy(folder, &file, &tensor.shape, values).map(|()| "int64"),
        };
        let dtype = dtype.with_context(cannot_write)?;
        tensors.push(Entry { name: &tensor.name, role, file, dtype, shape: &tensor.shape });
    }
    let index = Index {
        schema: "moescope-dump/1",
        image: about.image.to_string_lossy().into_owned(),
        model: about.model.path.to_string_lossy().into_owned(),
        top_k: about.analysis.top_k,
        routing_change: change::records(about.model, &about.analysis.change),
        tensors,
    };
    write_whole(&folder.join("index.json"), |out| Ok(serde_json::to_writer_pretty(out, &index)?))
        .with_context(cannot_write)
}

fn write_npy<T: WritableElement>(folder: &Path, file: &str, shape: &[usize], values: &[T]) -> anyhow::Result<()> {
    let array = ArrayView::from_shape(IxDyn(shape), values)?;
    write_whole(&folder.join(file), |out| {
        array.write_npy(out).map_err(|error| match error {
            // Its own words would say the same twice.
            WriteNpyError::Io(error) => error.into(),
            other => other.into(),
        })
    })
}

/// A file name for `name` that is not taken yet: what is no letter, digit, `.`, `-` or `_` becomes `_`, and names that
/// differ only in case count as the same, as some file systems see it.
fn unique(taken: &mut HashSet<String>, name: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let plain: String = name.chars().map(allowed).take(100).collect();
    let plain = if plain.trim_matches('.').is_empty() { "unnamed".to_owned() } else { plain };
    let candidates = std::iter::once(plain.clone()).chain((2..).map(|number| format!("{plain}-{number}")));
    let mut free = candidates.skip_while(|candidate| taken.contains(&candidate.to_lowercase()));
    let chosen = free.next().unwrap_or(plain);
    taken.insert(chosen.to_lowercase());
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_safe_and_distinct_file_names() {
        let mut taken = HashSet::new();
        let names = ["a/b", "a_b", "A_B", "..", "", "/etc/x", "logits"].map(|name| unique(&mut taken, name));
        assert_eq!(names, ["a_b", "a_b-2", "A_B-3", "unnamed", "unnamed-2", "_etc_x", "logits"]);
    }

    #[test]
    fn several_images_get_a_folder_each() {
        let root = Path::new("out");
        assert_eq!(folders(root, &["x/cat.jpg".into()]), [root]);
        let images = ["x/cat.jpg".into(), "y/cat.png".into(), "..".into()];
        assert_eq!(folders(root, &images), [root.join("cat"), root.join("cat-2"), root.join("image")]);
    }
}
