//! How many parameters work on a token at the k that is set, whichever way it is set.

use super::OpenModel;
use crate::model::TopKInput;
use crate::model::routers::{Parameters, RunTopK};

impl OpenModel {
    /// Total, activated and executed parameters when the model is run with `top_k`; `None` is what its graph says by itself.
    #[must_use]
    pub fn parameters_at(&self, top_k: Option<usize>) -> Parameters {
        let input = self.card.top_k.as_ref().map(|card| &card.input);
        let run_with = match (top_k, input) {
            (Some(top_k), Some(TopKInput::Edited)) => self.edited_top_ks(top_k),
            (Some(top_k), Some(TopKInput::Graph(_))) => self.routers.with_input(top_k),
            _ => Vec::new(),
        };
        self.routers.parameters_at(&run_with)
    }

    /// The k of each router where it was edited into the graph. Where only ranks are left out, the graph runs as many
    /// experts as before.
    fn edited_top_ks(&self, top_k: usize) -> Vec<RunTopK> {
        let run = |(at, router): (usize, &crate::model::routers::Router)| match router.top_k {
            None => RunTopK::default(),
            Some(_) if self.controls.running_all_ranks(at).is_some() => RunTopK { chosen: Some(top_k), executed: None },
            Some(own) => RunTopK::of(if router.frozen { own } else { top_k }),
        };
        self.routers.routers.iter().enumerate().map(run).collect()
    }
}
