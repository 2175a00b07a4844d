//! Why a model file cannot be used, told so that a person can act on it.

use std::path::PathBuf;

/// Why a model file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot open {}: {reason}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file is not an ONNX model.
    #[error("{} is not an ONNX model: it is {found}. {remedy}", .path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
        /// The step that helps.
        remedy: String,
    },
    /// There is a model card, but it is wrong.
    #[error("the model card in {} is not valid: {reason}. models/README.md describes the card", .place.display())]
    Card {
        /// The model, or the sidecar file.
        place: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no model card, and the graph does not say enough to do without.
    #[error(
        "{} has no model card, and {reason}. Write a card to {} (models/README.md describes it)",
        .path.display(), .sidecar.display()
    )]
    NoCard {
        /// The model.
        path: PathBuf,
        /// What the graph does not say.
        reason: String,
        /// Where a card would be found.
        sidecar: PathBuf,
    },
}
