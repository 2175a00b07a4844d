//! What can be changed about the routers of an open model through inputs that were edited into it.

use super::edited::ProvedModel;
use crate::engine::Tensor;
use crate::model::{ModelCard, RouterControls, TopKCard, TopKInput};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was edited into a model and proved. Empty where nothing of it is asked for: a model that runs as its file has it, or
/// that has an input of its own for k.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    proved: Option<Arc<ProvedModel>>,
    /// Why k cannot be changed, in a sentence; `None` where it can, or where nothing is known.
    pub top_k_obstacle: Option<String>,
}

impl Controls {
    /// None at all, for this reason.
    pub(super) fn none(reason: String) -> Self {
        Self { proved: None, top_k_obstacle: Some(reason) }
    }

    /// Those of an edited model. Where one number can be the k of all its routers, and `card` has no k of its own, it gets
    /// that.
    pub(super) fn of(proved: ProvedModel, card: &mut ModelCard) -> Self {
        if card.top_k.is_some() {
            return Self::default();
        }
        let top_k = proved.top_k_range().map_err(|obstacle| obstacle.to_string()).and_then(|range| {
            let own = common_top_k(&proved.instrumented.routers)?;
            Ok(range.zip(own).filter(|(range, _)| range.end() > range.start()))
        });
        let (top_k, top_k_obstacle) = match top_k {
            Ok(top_k) => (top_k, None),
            Err(obstacle) => (None, Some(obstacle)),
        };
        card.top_k = top_k.map(|(range, default)| TopKCard {
            input: TopKInput::Edited,
            min: *range.start(),
            max: *range.end(),
            default,
        });
        Self { proved: Some(Arc::new(proved)), top_k_obstacle }
    }

    /// The inputs that make every router take `top_k` experts; none where the model has an input of its own for that.
    pub(super) fn top_k_inputs(&self, top_k: usize) -> Vec<Tensor> {
        self.proved.as_ref().and_then(|proved| proved.with_top_k(top_k).ok()).unwrap_or_default()
    }
}

/// The k that all routers with a k have.
fn common_top_k(routers: &[RouterControls]) -> Result<Option<usize>, String> {
    let own: BTreeSet<usize> = routers.iter().filter_map(|router| router.own_top_k).collect();
    match own.first().zip(own.last()) {
        Some((least, most)) if least != most => Err(format!(
            "Its routers take different numbers of experts, {least} to {most}; one number cannot be all of them."
        )),
        same => Ok(same.map(|(least, _)| *least)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Obstacle;

    fn router(own_top_k: Option<usize>) -> RouterControls {
        let no = || Err(Obstacle::NotPlanned);
        RouterControls {
            top_k: no(),
            selection_bias: no(),
            rank_weights: no(),
            own_top_k,
            expert_ids: None,
            combine_weights: None,
        }
    }

    #[test]
    fn one_k_stands_for_routers_that_have_the_same() {
        let common = |own: &[Option<usize>]| common_top_k(&own.iter().map(|&own| router(own)).collect::<Vec<_>>());
        assert_eq!(common(&[Some(2), None, Some(2)]), Ok(Some(2)));
        assert_eq!(common(&[None]), Ok(None));
        assert!(common(&[Some(1), Some(3)]).unwrap_err().contains("1 to 3"));
    }
}
