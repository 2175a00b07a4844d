//! The execution providers of ONNX Runtime that a model can run on, and how one is wished for.
//!
//! ONNX Runtime goes on with the CPU when a provider does not start, and says so in a log at most. Here a wish is either
//! a demand or names what may take its place, and what really runs is part of every result.

use super::EngineError;
use super::protocol::os_path;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The CPU; in every library.
    #[default]
    Cpu,
    /// Any graphics card through Vulkan, Direct3D 12 or Metal.
    WebGpu,
    /// NVIDIA's cards.
    Cuda,
    /// NVIDIA's cards, with kernels that are built for the model when it is loaded (minutes).
    TensorRt,
    /// Any graphics card on Windows.
    DirectMl,
    /// Apple's neural engine and graphics.
    CoreMl,
    /// Intel's processors and graphics.
    OpenVino,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::WebGpu, Self::Cuda, Self::TensorRt, Self::DirectMl, Self::CoreMl, Self::OpenVino];

    /// Short name for the screen and for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::WebGpu => "WebGPU",
            Self::Cuda => "CUDA",
            Self::TensorRt => "TensorRT",
            Self::DirectMl => "DirectML",
            Self::CoreMl => "CoreML",
            Self::OpenVino => "OpenVINO",
        }
    }

    /// Name on the command line and in JSON.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::DirectMl => "directml",
            Self::CoreMl => "coreml",
            Self::OpenVino => "openvino",
        }
    }

    /// What it runs on, in one line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Cpu => "The processor; always there",
            Self::WebGpu => "Any graphics card, through Vulkan, Direct3D 12 or Metal",
            Self::Cuda => "NVIDIA's graphics cards",
            Self::TensorRt => "NVIDIA's graphics cards; builds kernels for minutes when the model is opened",
            Self::DirectMl => "Any graphics card on Windows",
            Self::CoreMl => "Apple's neural engine and graphics",
            Self::OpenVino => "Intel's processors and graphics",
        }
    }

    /// ONNX Runtime's own name, which logs and placements use.
    #[must_use]
    pub fn ort_name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::WebGpu => "WebGpuExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::TensorRt => "TensorrtExecutionProvider",
            Self::DirectMl => "DmlExecutionProvider",
            Self::CoreMl => "CoreMLExecutionProvider",
            Self::OpenVino => "OpenVINOExecutionProvider",
        }
    }

    /// The provider that ONNX Runtime calls `name`.
    #[must_use]
    pub fn from_ort_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.ort_name() == name)
    }

    /// Whether it talks to a device through a driver. Then a sandbox has to let it read the driver's libraries and
    /// settings (`/usr`, `/etc`, `/sys`, `/proc`), open devices (`/dev/dri`, `/dev/nvidia*`, `/dev/dxg`), map memory that is
    /// executable (drivers compile shaders), and start threads. None of them needs a socket or another program.
    #[must_use]
    pub fn needs_devices(self) -> bool {
        self != Self::Cpu
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = String;

    /// Reads an [`id`](Self::id).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|provider| provider.id() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::id).join(", ");
            format!("there is no provider {text:?}; there are {known}")
        })
    }
}

/// What a model shall run on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderWish {
    /// Which provider.
    pub choice: ProviderChoice,
    /// How it is set up.
    pub options: ProviderOptions,
}

/// Which provider a model shall run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderChoice {
    /// The first of [`AUTO_ORDER`] that is installed and truly starts.
    #[default]
    Auto,
    /// This one, else the CPU.
    Prefer(Provider),
    /// This one or none.
    Require(Provider),
}

/// The order in which [`ProviderChoice::Auto`] tries. TensorRT is left out because it builds kernels for minutes before
/// the first result, CoreML because it computes in half precision, which lets patches change their experts: they are for
/// those who ask for them.
pub const AUTO_ORDER: [Provider; 5] =
    [Provider::Cuda, Provider::DirectMl, Provider::WebGpu, Provider::OpenVino, Provider::Cpu];

/// How a provider is set up. What a provider does not have it refuses, rather than ignoring it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderOptions {
    /// Index of the device; `None` lets the provider choose.
    pub device: Option<u32>,
    /// How exactly it computes.
    pub precision: Precision,
    /// Folder for compiled kernels and models; `None` keeps nothing.
    #[serde(with = "os_path::optional")]
    pub cache: Option<PathBuf>,
}

/// How exactly a provider computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the model says.
    #[default]
    Full,
    /// In 16-bit floats where the provider can; faster, and patches whose gates are close change their experts.
    Half,
}

/// A provider that was tried and did not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStarted {
    /// Which one.
    pub provider: Provider,
    /// Why, and what to do.
    pub reason: String,
}

impl NotStarted {
    /// From the error that a try ended with.
    pub(super) fn new(provider: Provider, error: &EngineError) -> Self {
        let reason = match error {
            // The sentence about a provider that does not start is said once.
            EngineError::Provider { reason, remedy, .. } => format!("{reason}. {remedy}"),
            EngineError::NotInstalled { remedy, .. } => format!("it is not installed. {remedy}"),
            other => other.to_string(),
        };
        Self { provider, reason }
    }
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not start: {}", self.provider, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_provider() {
        for provider in Provider::ALL {
            assert_eq!(provider.id().parse(), Ok(provider));
            assert_eq!(Provider::from_ort_name(provider.ort_name()), Some(provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.id());
        }
        assert!("gpu".parse::<Provider>().unwrap_err().contains("webgpu, cuda"));
    }

    #[test]
    fn the_cpu_is_the_last_resort() {
        assert_eq!(AUTO_ORDER.last(), Some(&Provider::Cpu));
    }
}
