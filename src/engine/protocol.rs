//! What crosses the seam between the program and the engine: plain data only, no handle of ONNX Runtime.

use super::runtime::Backend;
use super::{NotStarted, Placement, Provider, ProviderChoice, ProviderWish, Values};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

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
    /// What to load in place of the file's own graph. Written down it travels apart, through shared memory.
    #[serde(skip)]
    pub edited: Option<EditedModel>,
    /// Other files that hold weights of the model. When one of them or the model's own has changed, a worker that ended is
    /// not replaced. Workers need no list of them.
    #[serde(skip)]
    pub weights: Vec<PathBuf>,
    /// How it shall run.
    pub execution: Execution,
}

impl LoadRequest {
    /// A model as it is, with all weights in its own file.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>, execution: Execution) -> Self {
        Self { model: model.into(), edited: None, weights: Vec::new(), execution }
    }
}

/// An encoded `ModelProto` that stands in for a file that stays as it is. Weights that it keeps outside of itself are
/// looked up in the folder of [`LoadRequest::model`], as that file's own are; that file may be one that holds them. Where it
/// is a link, that is the folder of the file that it leads to.
#[derive(Clone, PartialEq, Eq)]
pub struct EditedModel(pub Bytes);

impl fmt::Debug for EditedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EditedModel({} bytes)", self.0.len())
    }
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Every output of the graph, in the graph's order. Written down they travel apart, through shared memory.
    #[serde(skip)]
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

impl Tensor {
    /// Whether there are as many values as the shape says.
    pub(super) fn fills_its_shape(&self) -> bool {
        self.shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim)) == Some(self.data.len())
    }
}

/// The values of a [`Tensor`]. A clone shares them.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Values<f32>),
    /// 64-bit signed integers.
    I64(Values<i64>),
}

impl TensorData {
    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// The values as floats, whatever they are.
    pub(crate) fn to_floats(&self) -> Cow<'_, [f32]> {
        match self {
            Self::F32(values) => Cow::Borrowed(values),
            Self::I64(values) => values.iter().map(|&value| value as f32).collect(),
        }
    }

    /// The same values in memory of their own.
    pub(super) fn owned(&self) -> Self {
        match self {
            Self::F32(values) => Self::F32((**values).into()),
            Self::I64(values) => Self::I64((**values).into()),
        }
    }
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
    /// No library with the provider that was asked for is there.
    #[error("{provider} is not installed. {remedy}")]
    NotInstalled {
        /// Which one.
        provider: Provider,
        /// What to do next.
        remedy: String,
    },
    /// The provider that was asked for does not start.
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
    /// The model ended the process that it ran in.
    #[error(
        "{} ended its worker process while {phase} ({how}). Nothing else was harmed: the model runs apart from the program. \
         Such a model is damaged or made to do harm; get it again from its source, or open it once more to retry",
        .model.display()
    )]
    Died {
        /// The file.
        #[serde(with = "os_path")]
        model: PathBuf,
        /// What it was doing.
        phase: Phase,
        /// The signal or exit code, and the last words of the process if there were any.
        how: String,
    },
    /// The model took longer than it may.
    #[error(
        "{} was stopped because {phase} took longer than {secs} s. It may never end; if it is only slow, allow more with {}",
        .model.display(), .phase.deadline_flag()
    )]
    Deadline {
        /// The file.
        #[serde(with = "os_path")]
        model: PathBuf,
        /// What it was doing.
        phase: Phase,
        /// How long it may take, in seconds.
        secs: f64,
    },
    /// The model ended its process too often and is not opened again without being asked to.
    #[error(
        "{} ended its worker process {deaths} times and is not opened again by itself. Get it again from its source, or \
         retry if you trust it",
        .model.display()
    )]
    Quarantined {
        /// The file.
        #[serde(with = "os_path")]
        model: PathBuf,
        /// How often.
        deaths: u32,
    },
    /// The worker has ended, and the model cannot be loaded again because its files are no longer those that were loaded.
    #[error("{} has changed since it was opened, and its worker process has ended. Reload the model", .model.display())]
    Changed {
        /// The file.
        #[serde(with = "os_path")]
        model: PathBuf,
    },
    /// The worker process could not be started or spoken to.
    #[error(
        "the worker process that runs models cannot be used: {reason}. To run models inside the program: --isolate off"
    )]
    Worker {
        /// What went wrong.
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

/// What a model was doing when something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Being read, checked and optimised.
    Loading,
    /// Running on an input.
    Running,
}

impl Phase {
    fn deadline_flag(self) -> &'static str {
        match self {
            Self::Loading => "--load-deadline",
            Self::Running => "--run-deadline",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loading => "loading",
            Self::Running => "running",
        })
    }
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
