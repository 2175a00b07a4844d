//! The builds of ONNX Runtime that can be installed beside the one that came with the program, and which of them is used
//! for which provider.
//!
//! No single library has every provider, and one process can load only one library. So each provider has a build of its
//! own, which a person installs when it is of use, and a model is run by the library that has the wished provider.

mod backend;
mod catalogue;
mod choose;
mod fetch;
mod probe;
mod store;

pub use backend::Backend;
pub(super) use backend::{Candidates, candidates};
pub(super) use catalogue::CPU_VERSION;
pub(super) use choose::first_that_starts;
pub use probe::{Probe, probe};
pub use store::{InstallError, Runtime, Store};
