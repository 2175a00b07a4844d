//! The number of experts per token that may differ from run to run, and how the graph is told.

use serde::{Deserialize, Serialize};

/// The k that may differ from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopKCard {
    /// How the graph is told.
    pub input: TopKInput,
    /// Smallest value, at least 1.
    pub min: usize,
    /// Largest value, at most the number of experts.
    pub max: usize,
    /// The value the model was made for.
    pub default: usize,
}

/// How the graph is told its k.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, from = "String")]
pub enum TopKInput {
    /// By its own input of this name, int64 `[1]`.
    Graph(String),
    /// By what was edited into it when it was opened. Not true of the file, so a card with it cannot be written.
    #[serde(skip)]
    Edited,
}

impl TopKInput {
    /// Name of the graph's own input; `None` where it has none.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Graph(name) => Some(name),
            Self::Edited => None,
        }
    }
}

impl From<String> for TopKInput {
    fn from(name: String) -> Self {
        Self::Graph(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_card_has_the_name_alone_and_never_an_edit() {
        let card = |input| TopKCard { input, min: 1, max: 4, default: 2 };
        let written = json!({"input": "top_k", "min": 1, "max": 4, "default": 2});
        let named = card(TopKInput::Graph("top_k".into()));
        assert_eq!(serde_json::to_value(&named).unwrap(), written);
        assert_eq!(serde_json::from_value::<TopKCard>(written).unwrap(), named);
        assert!(serde_json::to_value(card(TopKInput::Edited)).is_err());
    }
}
