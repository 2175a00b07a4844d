//! What is told of layers whose tokens a fixed rule routes.

use crate::model::routers::report::TensorRef;
use serde::Serialize;

/// A layer of experts that no gate chooses: a fixed rule says which tokens each of them takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FixedRouting {
    /// From the names of its experts' weights.
    pub name: String,
    /// Its place among such layers, from 0.
    pub layer: usize,
    /// What decides.
    pub rule: FixedRule,
    /// E.
    pub num_experts: usize,
    /// What each of them takes.
    pub experts: Vec<FixedExpert>,
    /// Values in their matrices.
    pub parameters: u64,
    /// Why this is such a layer, in sentences that name nodes.
    pub evidence: Vec<String>,
}

/// What decides which expert a token takes, where no gate does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum FixedRule {
    /// The token's place in the sequence; where tokens of several kinds stand one behind the other, their kind.
    Position,
    /// An input of the model, such as the tokens' types.
    Input {
        /// Its name.
        name: String,
    },
    /// A table of the graph, in which an input is looked up: the tokens' ids in a hash layer.
    Table {
        /// The input's name.
        name: String,
        /// How many ids each expert has.
        ids_per_expert: Vec<usize>,
    },
    /// Something that is computed, but not from features.
    Computed,
}

/// One expert that no gate chooses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FixedExpert {
    /// The tokens that it takes.
    pub takes: Takes,
    /// Names of its matrices.
    pub weights: Vec<String>,
}

/// The tokens that a fixed rule gives to an expert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Takes {
    /// Those from `start` to before `end`.
    Range {
        /// The first one.
        start: i64,
        /// The first one that it does not take any more.
        end: i64,
    },
    /// Those at some places.
    Positions {
        /// Counted from 0.
        positions: Vec<i64>,
    },
    /// Those for which a tensor of the graph has a number.
    Equal {
        /// The tensor: an expert, an id or a type for each token.
        tensor: TensorRef,
        /// The number.
        equals: i64,
    },
    /// Those that the graph works out, from a tensor where that is known.
    Computed {
        /// The mask of its tokens, or what that is made of.
        tensor: Option<TensorRef>,
    },
}
