//! Remembers which model files ended their worker, so that none does it again and again.

use super::stamp::FileStamp;
use crate::engine::Provider;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A model that ended its worker so often is not opened again without being asked to.
const MAX_DEATHS: u32 = 2;

/// How often each file ended a worker. A file that was replaced by another begins anew.
#[derive(Debug, Default)]
pub(super) struct Quarantine(HashMap<Identity, u32>);

/// A file as it was when it did harm.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    /// A crash of one provider's driver says nothing about the others.
    provider: Provider,
    path: PathBuf,
    stamp: FileStamp,
}

impl Identity {
    fn of(path: &Path, provider: Provider) -> Self {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        Self { provider, path: real, stamp: FileStamp::of(path) }
    }
}

impl Quarantine {
    /// How often the file ended a worker, if that was too often.
    pub(super) fn holds(&self, model: &Path, provider: Provider) -> Option<u32> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&Identity::of(model, provider)).copied().filter(|&deaths| deaths >= MAX_DEATHS)
    }

    /// Remembers that the file ended a worker.
    pub(super) fn count(&mut self, model: &Path, provider: Provider) {
        *self.0.entry(Identity::of(model, provider)).or_default() += 1;
    }

    /// Forgets what the file did.
    pub(super) fn pardon(&mut self, model: &Path) {
        let pardoned = Identity::of(model, Provider::Cpu).path;
        self.0.retain(|identity, _| identity.path != pardoned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_deaths_are_too_many_until_pardoned_or_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.onnx");
        fs::write(&model, b"one").unwrap();
        let mut quarantine = Quarantine::default();
        quarantine.count(&model, Provider::Cpu);
        assert_eq!(quarantine.holds(&model, Provider::Cpu), None);
        quarantine.count(&model, Provider::Cpu);
        assert_eq!(quarantine.holds(&model, Provider::Cpu), Some(2));
        assert_eq!(quarantine.holds(&folder.path().join("other.onnx"), Provider::Cpu), None);
        assert_eq!(quarantine.holds(&model, Provider::Cuda), None);
        quarantine.pardon(&model);
        assert_eq!(quarantine.holds(&model, Provider::Cpu), None);
        quarantine.count(&model, Provider::Cpu);
        quarantine.count(&model, Provider::Cpu);
        fs::write(&model, b"another").unwrap();
        assert_eq!(quarantine.holds(&model, Provider::Cpu), None);
    }
}
