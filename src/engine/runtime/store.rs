//! Which builds there are, and where they lie once installed.

use super::catalogue::{self, Wheel};
use super::fetch::{self, TempFolder};
use crate::engine::Provider;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs, io};

/// File in an installed folder that tells the package and its version.
const ORIGIN: &str = "ORIGIN";

/// A build of ONNX Runtime, or a plug-in for one, that can be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// The same library that the build of the program brings.
    Cpu,
    /// A library with WebGPU built in.
    #[serde(rename = "webgpu")]
    WebGpu,
    /// WebGPU as a plug-in for the CPU's library.
    #[serde(rename = "webgpu-plugin")]
    WebGpuPlugin,
    /// A library with CUDA and TensorRT.
    Cuda,
    /// A library with DirectML, for Windows.
    #[serde(rename = "directml")]
    DirectMl,
    /// A library with OpenVINO.
    #[serde(rename = "openvino")]
    OpenVino,
}

impl Runtime {
    /// Every build.
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::WebGpu, Self::WebGpuPlugin, Self::Cuda, Self::DirectMl, Self::OpenVino];

    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
            Self::WebGpuPlugin => "webgpu-plugin",
            Self::Cuda => "cuda",
            Self::DirectMl => "directml",
            Self::OpenVino => "openvino",
        }
    }

    /// What it brings beside the CPU.
    #[must_use]
    pub fn providers(self) -> &'static [Provider] {
        match self {
            Self::Cpu => &[],
            Self::WebGpu | Self::WebGpuPlugin => &[Provider::WebGpu],
            Self::Cuda => &[Provider::Cuda, Provider::TensorRt],
            Self::DirectMl => &[Provider::DirectMl],
            Self::OpenVino => &[Provider::OpenVino],
        }
    }
}

impl Runtime {
    /// The pinned package and its version for this system; `None` where there is none.
    #[must_use]
    pub fn package(self) -> Option<String> {
        self.wheel().map(origin)
    }

    fn wheel(self) -> Option<&'static Wheel> {
        use std::env::consts::{ARCH, OS};
        let libc = if cfg!(target_env = "gnu") { "gnu" } else { "" };
        catalogue::find(self.name(), OS, ARCH, libc)
    }
}

/// What [`ORIGIN`] says of a wheel.
fn origin(wheel: &Wheel) -> String {
    format!("{} {}", wheel.package, wheel.version)
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Runtime {
    type Err = String;

    /// Reads a [`name`](Self::name).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|runtime| runtime.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("there is no runtime {text:?}; there are {known}")
        })
    }
}

/// The folder that installed builds lie in, each in a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The person's own; `None` for someone without a home folder.
    #[must_use]
    pub fn of_user() -> Option<Self> {
        let folders = directories::ProjectDirs::from("", "", "moescope")?;
        Some(Self::at(&folders.data_local_dir().join("runtimes")))
    }

    /// In a given folder, which need not be there.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Where a build lies, or would lie.
    #[must_use]
    pub fn folder_of(&self, runtime: Runtime) -> PathBuf {
        self.folder.join(runtime.name())
    }

    /// The library (of a plug-in: the plug-in) of an installed build.
    #[must_use]
    pub fn library(&self, runtime: Runtime) -> Option<PathBuf> {
        let names = fs::read_dir(self.folder_of(runtime)).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        names.filter(|path| is_main_library(path, runtime)).min()
    }

    /// Package and version of an installed build.
    #[must_use]
    pub fn installed_package(&self, runtime: Runtime) -> Option<String> {
        self.library(runtime)?;
        let origin = fs::read_to_string(self.folder_of(runtime).join(ORIGIN));
        Some(origin.map_or_else(|_| "unknown".to_owned(), |origin| origin.trim().to_owned()))
    }

    /// Brings a build and gives its folder; one of another version makes room. Needs Python with pip, and a network.
    ///
    /// # Errors
    /// Says what failed; nothing was changed then.
    pub fn install(&self, runtime: Runtime) -> Result<PathBuf, InstallError> {
        let failed = |reason| InstallError::Failed { runtime, reason };
        let wheel = runtime.wheel().ok_or(InstallError::NoBuild { runtime })?;
        let place = self.folder_of(runtime);
        if self.installed_package(runtime).is_some_and(|package| package == origin(wheel)) {
            return Ok(place);
        }
        let new = TempFolder::beside(&place).map_err(failed)?;
        let fetched = new.0.join("fetched");
        fetch::install(wheel, &fetched, |folder| fs::write(folder.join(ORIGIN), origin(wheel))).map_err(failed)?;
        self.remove(runtime)?;
        fetch::publish(&fetched, &place).map_err(failed)?;
        Ok(place)
    }

    /// Removes a build, at once for everyone who looks; one that is not there is no error, and gives `false`.
    ///
    /// # Errors
    /// When its files cannot be moved, as on Windows while a program uses them.
    pub fn remove(&self, runtime: Runtime) -> Result<bool, InstallError> {
        let place = self.folder_of(runtime);
        if !place.exists() {
            return Ok(false);
        }
        let failed = |reason: String| InstallError::Stuck { folder: place.clone(), reason };
        let away = TempFolder::beside(&place.with_extension("old")).map_err(failed)?;
        let moved: io::Result<()> = fs::rename(&place, away.0.join("removed"));
        moved.map(|()| true).map_err(|error| failed(error.to_string()))
    }
}

/// Why a build was not installed or removed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InstallError {
    /// There is nothing to bring for this system.
    #[error("there is no {runtime} for {} on {}", std::env::consts::OS, std::env::consts::ARCH)]
    NoBuild {
        /// What was wanted.
        runtime: Runtime,
    },
    /// It could not be brought.
    #[error(
        "{runtime} was not installed: {reason}. It comes through `python3 -m pip download`: check that this works here"
    )]
    Failed {
        /// What was wanted.
        runtime: Runtime,
        /// What pip or the file system said.
        reason: String,
    },
    /// An installed one could not be moved away.
    #[error("{} cannot be removed: {reason}. Close the programs that use it and try again", .folder.display())]
    Stuck {
        /// Where it lies.
        folder: PathBuf,
        /// The operating system's words.
        reason: String,
    },
}

/// Whether a file is what is loaded first: libraries of single providers lie beside it.
fn is_main_library(path: &Path, runtime: Runtime) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_prefix("lib").unwrap_or(&name);
    match runtime {
        Runtime::WebGpuPlugin => stem.starts_with("onnxruntime_providers_webgpu."),
        _ => stem.starts_with("onnxruntime."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_from_what_lies_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::at(temp.path());
        assert_eq!(store.library(Runtime::Cuda), None);
        for (runtime, library, beside) in [
            (Runtime::Cuda, "libonnxruntime.so.1.31.1", "libonnxruntime_providers_cuda.so"),
            (Runtime::DirectMl, "onnxruntime.dll", "DirectML.dll"),
            (Runtime::Cpu, "libonnxruntime.1.31.1.dylib", "LICENSE"),
            (Runtime::WebGpuPlugin, "libonnxruntime_providers_webgpu.so", "LICENSE"),
        ] {
            let folder = store.folder_of(runtime);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(beside), b"").unwrap();
            assert_eq!(store.library(runtime), None, "{runtime}");
            fs::write(folder.join(library), b"").unwrap();
            assert_eq!(store.library(runtime), Some(folder.join(library)));
        }
    }

    #[test]
    fn an_installed_build_can_be_removed_and_a_missing_one_too() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::at(temp.path());
        assert_eq!((store.installed_package(Runtime::Cuda), store.remove(Runtime::Cuda)), (None, Ok(false)));
        let folder = store.folder_of(Runtime::Cuda);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libonnxruntime.so.1"), b"").unwrap();
        fs::write(folder.join(ORIGIN), "onnxruntime-gpu 1.0\n").unwrap();
        assert_eq!(store.installed_package(Runtime::Cuda).unwrap(), "onnxruntime-gpu 1.0");
        assert_eq!(store.remove(Runtime::Cuda), Ok(true));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn every_wheel_belongs_to_a_runtime() {
        for wheel in catalogue::WHEELS {
            assert!(wheel.runtime.parse::<Runtime>().is_ok(), "{}", wheel.runtime);
            assert!(wheel.sha256.len() == 64 && wheel.file.contains(wheel.version), "{}", wheel.file);
        }
        let cpu = catalogue::find("cpu", "linux", "x86_64", "gnu").unwrap();
        assert_eq!((cpu.version, catalogue::find("cpu", "linux", "x86_64", "musl")), (catalogue::CPU_VERSION, None));
        assert_eq!(catalogue::find("directml", "linux", "x86_64", "gnu"), None);
    }

    #[test]
    fn names_lead_back_to_the_runtime() {
        for runtime in Runtime::ALL {
            assert_eq!(runtime.name().parse(), Ok(runtime));
            assert_eq!(serde_json::to_value(runtime).unwrap(), runtime.name());
        }
        assert!("gpu".parse::<Runtime>().unwrap_err().contains("webgpu-plugin, cuda"));
    }
}
