//! What crosses the seam between the program and the engine: plain data only, no handle of ONNX Runtime.

use super::runtime::Backend;
use super::{NotStarted, Placement, Provider, ProviderChoice, ProviderWish};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that an engine can be asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// Make a model ready to run, by this backend and no other.
    Load(LoadRequest, Backend),
    /// Run it.
    Run(RunRequest),
    /// Forget it.
    Unload(ModelHandle),
    /// End the engine.
    Shutdown,
}

/// Everything that an engine can answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Response {
    /// To [`Request::Load`].
    Loaded(Loaded),
    /// To [`Request::Run`].
    Ran(RunResult),
    /// To [`Request::Unload`] and [`Request::Shutdown`].
    Done,
    /// To a request that could not be fulfilled.
    Failed(EngineError),
}

/// A model to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// The ONNX file.
    #[serde(with = "os_path")]
    pub model: PathBuf,
    /// How it shall run.
    pub execution: Execution,
}

/// How a model is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Threads of one run; `None` lets ONNX Runtime choose (one per physical core).
    pub threads: Option<usize>,
    /// On what.
    pub provider: ProviderWish,
}

impl Execution {
    /// On this provider or not at all, with ONNX Runtime's defaults.
    #[must_use]
    pub fn on(provider: Provider) -> Self {
        let choice = ProviderChoice::Require(provider);
        Self { provider: ProviderWish { choice, ..ProviderWish::default() }, ..Self::default() }
    }
}

/// A model that is ready to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// Handle for [`RunRequest::model`].
    pub model: ModelHandle,
    /// The provider that the session was made with.
    pub provider: Provider,
    /// The providers that were tried before it, and why they did not start.
    pub not_started: Vec<NotStarted>,
    /// Which of the model's nodes run on which provider.
    pub placement: Placement,
    /// Names of the graph's outputs in order.
    pub outputs: Vec<String>,
    /// Seconds that the load took.
    pub load_secs: f64,
}

/// Names a loaded model to its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelHandle(pub u64);

/// One run of a loaded model.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// Which model.
    pub model: ModelHandle,
    /// Inputs by name.
    pub inputs: Vec<Tensor>,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResult {
    /// Every output of the graph, in the graph's order.
    pub outputs: Vec<Tensor>,
    /// Seconds inside ONNX Runtime's run call.
    pub run_secs: f64,
    /// The provider that ran it.
    pub provider: Provider,
}

/// A named tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name of the graph's input or output.
    pub name: String,
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub data: TensorData,
}

/// The values of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Arc<[f32]>),
    /// 64-bit signed integers.
    I64(Arc<[i64]>),
}

/// Why the engine could not do what it was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum EngineError {
    /// ONNX Runtime's library was not found or cannot be used.
    #[error("ONNX Runtime is not available: {reason}. {remedy}")]
    Library {
        /// What was tried and what came of it.
        reason: String,
        /// What to do next.
        remedy: String,
    },
    /// The provider that was asked for does not start, or is not installed.
    #[error("{provider} does not start: {reason}. {remedy}")]
    Provider {
        /// Which one.
        provider: Provider,
        /// What is missing, or ONNX Runtime's own words.
        reason: String,
        /// What to do next.
        remedy: String,
    },
    /// ONNX Runtime refused the model.
    #[error("ONNX Runtime cannot load {}: {reason}", .model.display())]
    Load {
        /// The file.
        #[serde(with = "os_path")]
        model: PathBuf,
        /// ONNX Runtime's own words.
        reason: String,
    },
    /// The run failed.
    #[error("the model failed while running: {reason}")]
    Run {
        /// ONNX Runtime's own words.
        reason: String,
    },
    /// The load or run was cancelled because something newer is wanted.
    #[error("cancelled")]
    Cancelled,
    /// The model handle is not known to this engine.
    #[error("the model is no longer loaded")]
    UnknownModel,
    /// The engine has ended.
    #[error("the engine has ended; restart the program")]
    Gone,
}

/// A path as the operating system has it: serde alone refuses those that are no Unicode.
pub(super) mod os_path {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    pub(in crate::engine) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(serializer)
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(deserializer).map(PathBuf::from)
    }

    /// One that may be missing.
    pub(in crate::engine) mod optional {
        use super::{Deserialize, Deserializer, OsString, PathBuf, Serialize, Serializer};

        pub(in crate::engine) fn serialize<S: Serializer>(
            path: &Option<PathBuf>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            path.as_ref().map(|path| path.as_os_str()).serialize(serializer)
        }

        pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<PathBuf>, D::Error> {
            Ok(Option::<OsString>::deserialize(deserializer)?.map(PathBuf::from))
        }
    }
}
