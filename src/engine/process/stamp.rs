//! How files looked at one moment, to tell whether they are still the same without reading them.

use std::path::Path;
use std::time::SystemTime;

/// One file's size and when it was last written; of a file that is not there, neither.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileStamp {
    len: Option<u64>,
    modified: Option<SystemTime>,
}

impl FileStamp {
    /// Looks at a file.
    pub(super) fn of(path: &Path) -> Self {
        let metadata = path.metadata().ok();
        Self {
            len: metadata.as_ref().map(std::fs::Metadata::len),
            modified: metadata.and_then(|metadata| metadata.modified().ok()),
        }
    }
}
