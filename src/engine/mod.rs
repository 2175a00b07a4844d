//! ONNX Runtime behind closed request and response types. The only module that names `ort`.
//!
//! A named thread owns the sessions; callers hold an [`Engine`] and exchange plain data with it, so that the thread can
//! become a process without a change on the caller's side.

mod client;
mod host;
mod library;
mod placement;
mod protocol;
mod provider;
mod runtime;

pub use client::{Engine, EngineOptions};
pub use library::{ORT_VERSION, find_library};
pub use placement::{PlacedOp, Placement};
pub use protocol::{
    EngineError, Execution, LoadRequest, Loaded, ModelHandle, RunRequest, RunResult, Tensor, TensorData,
};
pub use provider::{AUTO_ORDER, NotStarted, Precision, Provider, ProviderChoice, ProviderOptions, ProviderWish};
pub use runtime::{Backend, Runtime, Store};
