//! Where the bundled model lies.

use std::env;
use std::path::{Path, PathBuf};

/// Path of the bundled model inside the repository and beside an installed program.
pub const DEFAULT_MODEL: &str = "models/default/moescope-default.onnx";

/// The bundled model: beside the executable, in the working folder, or in the source tree that the program was built
/// from, in this order; `None` where it is in none of them.
#[must_use]
pub fn default_model_path() -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let built_from = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = beside.into_iter().chain([PathBuf::new(), built_from]);
    folders.map(|folder| folder.join(DEFAULT_MODEL)).find(|path| path.is_file())
}
