//! Which builds there are, and where they lie once installed.

use crate::engine::Provider;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
        let names = std::fs::read_dir(self.folder_of(runtime)).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        names.filter(|path| is_main_library(path, runtime)).min()
    }
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
    use std::fs;

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
    fn names_lead_back_to_the_runtime() {
        for runtime in Runtime::ALL {
            assert_eq!(runtime.name().parse(), Ok(runtime));
            assert_eq!(serde_json::to_value(runtime).unwrap(), runtime.name());
        }
        assert!("gpu".parse::<Runtime>().unwrap_err().contains("webgpu-plugin, cuda"));
    }
}
