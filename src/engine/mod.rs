//! ONNX Runtime behind closed request and response types. The only module that names `ort`.
//!
//! A named thread owns the sessions; callers hold an [`Engine`] and exchange plain data with it, so that the thread can
//! become a process without a change on the caller's side.

mod protocol;

pub use protocol::{
    EngineError, LoadRequest, Loaded, ModelHandle, Provider, RunRequest, RunResult, Tensor, TensorData,
};
