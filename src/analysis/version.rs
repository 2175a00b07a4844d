//! Which version of a model's files a result belongs to: a file may be written again while it is open, and results of
//! before and after must never meet under one key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The files of a model as they were at one moment: the model itself first, then its card and its weights. Cheap to
/// clone and to compare; comparing looks at nothing on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelVersion {
    files: Arc<[FileVersion]>,
}

/// One file; `state` is its size in bytes and when it was last written, `None` where there is no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileVersion {
    path: PathBuf,
    state: Option<(u64, Option<SystemTime>)>,
}

impl ModelVersion {
    /// Looks at the model at `model` and the files beside it that it depends on, there or not.
    #[must_use]
    pub fn look(model: &Path, others: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = [model.to_owned()].into_iter().chain(others).map(FileVersion::look);
        Self { files: files.collect() }
    }

    /// This version with more files, as they are now.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: self.files.iter().cloned().chain(others.into_iter().map(FileVersion::look)).collect() }
    }

    /// The same files as they are now: some microseconds, no reading.
    #[must_use]
    pub fn now(&self) -> Self {
        Self { files: self.files.iter().map(|file| FileVersion::look(file.path.clone())).collect() }
    }

    /// The model's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// Whether the model itself was there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.files.first().is_some_and(|file| file.state.is_some())
    }
}

impl FileVersion {
    fn look(path: PathBuf) -> Self {
        let state = path.metadata().ok().map(|metadata| (metadata.len(), metadata.modified().ok()));
        Self { path, state }
    }
}

/// Tells each change of an open model's files once. While a file is being written it changes all the time, so a change
/// counts when two looks in a row saw the same.
#[derive(Debug, Default)]
pub(super) struct ModelWatch {
    last: Option<ModelVersion>,
    told: Option<ModelVersion>,
}

impl ModelWatch {
    /// Looks at the files of the version that is open; gives what they are now if that is news.
    pub(super) fn changed(&mut self, open: &ModelVersion) -> Option<ModelVersion> {
        let now = open.now();
        let settled = self.last.replace(now.clone()).as_ref() == Some(&now);
        let known = if now == *open { None } else { Some(now) };
        if settled && self.told != known {
            self.told.clone_from(&known);
            return known;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    #[test]
    fn a_version_changes_with_every_file_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let [model, card, weights] = ["m.onnx", "m.card.json", "m.bin"].map(|name| folder.path().join(name));
        fs::write(&model, "1").unwrap();
        fs::write(&weights, "1").unwrap();
        let first = ModelVersion::look(&model, [card.clone()]).with([weights.clone()]);
        assert_eq!((first.now(), first.path(), first.is_there()), (first.clone(), model.as_path(), true));
        fs::write(&card, "{}").unwrap();
        let second = first.now();
        assert_ne!(second, first, "a card appeared");
        let earlier = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(&weights).unwrap().set_modified(earlier).unwrap();
        let third = second.now();
        assert_ne!(third, second, "the weights were written at another time");
        fs::write(&model, "12").unwrap();
        let fourth = third.now();
        assert_ne!(fourth, third, "the model grew");
        fs::remove_file(&model).unwrap();
        assert!(!fourth.now().is_there() && fourth.now() != fourth);
    }

    #[test]
    fn a_change_is_told_once_and_when_writing_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.onnx");
        fs::write(&model, "1").unwrap();
        let open = ModelVersion::look(&model, []);
        let mut watch = ModelWatch::default();
        let mut news = || watch.changed(&open).is_some();
        assert_eq!([news(), news()], [false, false]);
        fs::write(&model, "12").unwrap();
        assert!(!news(), "it may still be written");
        fs::write(&model, "123").unwrap();
        assert_eq!([news(), news(), news()], [false, true, false]);
        fs::remove_file(&model).unwrap();
        assert_eq!([news(), news(), news()], [false, true, false]);
    }
}
