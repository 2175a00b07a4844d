//! What a guess rests on, field by field, so that nothing is assumed in silence.

use serde::{Deserialize, Serialize};

/// What a value was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The graph says so.
    Graph,
    /// What models of this kind usually have; the graph says which kind it is.
    Preset,
    /// Nothing says so: it has to be looked at by a person.
    Assumed,
}

/// Why a field of a guessed card has its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The field, as `models/README.md` writes it, such as `input.mean` or `layers[2].grid`.
    pub field: String,
    /// What the value was read from.
    pub basis: Basis,
    /// In a sentence.
    pub text: String,
}

impl Reason {
    /// Whether nothing says so, so that a person has to look.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.basis == Basis::Assumed
    }
}

/// The reasons that a guess gathers on its way.
#[derive(Debug, Default)]
pub(super) struct Reasons(pub Vec<Reason>);

impl Reasons {
    pub fn add(&mut self, field: impl Into<String>, basis: Basis, text: impl Into<String>) {
        self.0.push(Reason { field: field.into(), basis, text: text.into() });
    }
}
