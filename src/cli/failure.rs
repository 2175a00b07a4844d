//! How a command ends when it is not simply done, and which exit code that is.

use crate::analysis::{AnalysisError, OpenError};
use std::io;

/// How a command ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line asks for something that cannot be; exit code 2.
    Usage(String),
    /// Some inputs failed and were named already; exit code 1.
    Inputs,
    /// Nothing could be done, such as without a model; exit code 1.
    Fatal(anyhow::Error),
    /// Whoever read the output has gone, as `head` does: no failure of ours.
    ReaderGone,
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::ReaderGone => 0,
            Self::Inputs | Self::Fatal(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// What is left to say on standard error.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Usage(text) => Some(text.clone()),
            Self::Fatal(error) => Some(format!("{error:#}")),
            Self::Inputs | Self::ReaderGone => None,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Fatal(error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<AnalysisError> for Failure {
    /// A top-k or a change that the model cannot have is a wrong command line; everything else is the model's fault.
    fn from(error: AnalysisError) -> Self {
        match error {
            AnalysisError::TopKRange { .. } | AnalysisError::FixedTopK { .. } => Self::Usage(error.to_string()),
            AnalysisError::Change(ref change) if change.is_usage() => Self::Usage(error.to_string()),
            other => Self::Fatal(other.into()),
        }
    }
}

/// For errors of writing results.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Fatal(anyhow::Error::new(error).context("cannot write the results")),
        }
    }
}
