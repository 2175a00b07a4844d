//! ONNX Runtime behind closed request and response types. The only module that names `ort`.
//!
//! Callers hold an [`Engine`] and exchange plain data with it. Behind it each model runs in a worker process of its own
//! (`process`), or, with isolation off, on a thread of this one; `host` is the side that owns ONNX Runtime in both.

mod client;
mod host;
mod library;
mod limits;
mod placement;
mod process;
mod protocol;
mod provider;
mod runtime;
mod values;

pub use client::{Engine, EngineOptions, Isolation, Ticket};
pub use library::{ORT_VERSION, find_library};
pub use limits::Limits;
pub use placement::{PlacedOp, Placement};
pub use process::{Freedom, WorkerArgs, isolation_of, probe_isolation, serve_worker};
pub use protocol::{
    EditedModel, EngineError, Execution, LoadRequest, Loaded, ModelHandle, Phase, RunRequest, RunResult, Tensor,
    TensorData,
};
pub use provider::{AUTO_ORDER, NotStarted, Precision, Provider, ProviderChoice, ProviderOptions, ProviderWish};
pub use runtime::{Backend, InstallError, Probe, Runtime, Store, probe};
pub use values::Values;
