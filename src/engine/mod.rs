//! ONNX Runtime behind closed request and response types. The only module that names `ort`.
//!
//! A named thread owns the sessions; callers hold an [`Engine`] and exchange plain data with it, so that the thread can
//! become a process without a change on the caller's side.

mod cancel;
mod client;
mod environment;
mod library;
mod protocol;
mod session;
mod tensor;
mod worker;

pub use client::Engine;
pub use library::{ORT_VERSION, find_library};
pub use protocol::{
    EngineError, LoadRequest, Loaded, ModelHandle, Provider, RunRequest, RunResult, Tensor, TensorData,
};
