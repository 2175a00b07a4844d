//! The execution providers of ONNX Runtime that a model can run on.

use serde::{Deserialize, Serialize};

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Provider {
    /// The built-in CPU provider.
    Cpu,
}

impl Provider {
    /// Short name for the screen and for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
        }
    }
}
