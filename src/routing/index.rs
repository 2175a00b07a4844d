//! Newtypes for the indices that are easily confused, and the errors of building routing values.

use serde::{Deserialize, Serialize};

/// An expert of one layer, counted from 0. Between layers equal numbers mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExpertIdx(pub u32);

impl ExpertIdx {
    /// In place of an expert at a rank that a token does not use, where tokens have different numbers of experts.
    pub const NONE: Self = Self(u32::MAX);
}

/// An MoE layer of a model, counted from 0 in the order in which the model runs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerIdx(pub usize);

/// A patch of one image, counted from 0 in row-major order over its [`PatchGrid`](super::PatchGrid).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PatchIdx(pub usize);

/// How many experts handle a token: at least 1, at most the number of experts it was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TopK(usize);

impl TopK {
    /// Checks `top_k` against the number of experts.
    ///
    /// # Errors
    /// [`RoutingError::TopK`] when `top_k` is 0 or exceeds `num_experts`.
    pub fn new(top_k: usize, num_experts: usize) -> Result<Self, RoutingError> {
        if (1..=num_experts).contains(&top_k) {
            Ok(Self(top_k))
        } else {
            Err(RoutingError::TopK { top_k, num_experts })
        }
    }

    /// The number itself, at least 1.
    #[must_use]
    pub fn get(self) -> usize {
        self.0
    }
}

/// Why values do not form a routing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RoutingError {
    /// `top_k` is outside `1..=num_experts`.
    #[error("top-k must be between 1 and {num_experts}, not {top_k}")]
    TopK {
        /// The value that was asked for.
        top_k: usize,
        /// The number of experts it was checked against.
        num_experts: usize,
    },
    /// A tensor does not have the number of values that its shape needs.
    #[error("layer {layer}: {tensor} has {found} values, {expected} were expected")]
    Length {
        /// Name of the layer.
        layer: String,
        /// Which tensor.
        tensor: &'static str,
        /// Number of values found.
        found: usize,
        /// Number of values that tokens × experts or tokens × k asks for.
        expected: usize,
    },
    /// A chosen expert does not exist.
    #[error("layer {layer}: the model chose expert {expert}, but the layer has {num_experts} experts")]
    Expert {
        /// Name of the layer.
        layer: String,
        /// The number that the model gave.
        expert: i64,
        /// The number of experts of the layer.
        num_experts: usize,
    },
}
