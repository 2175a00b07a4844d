//! The card that a person edits, and what each of its fields rests on.

use crate::analysis::OpenModel;
use crate::model::geometry::Basis;
use crate::model::{CardSource, ModelCard, TopKInput};
use std::sync::Arc;

/// The card of an open model as it would be saved.
pub(super) struct Draft {
    pub model: Arc<OpenModel>,
    pub card: ModelCard,
}

/// Where the value of a field is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    /// The model came with a card.
    Card,
    /// A guess, and why.
    Guess(Basis, &'a str),
    /// A person changed it here.
    Changed,
}

impl Draft {
    pub fn of(model: &Arc<OpenModel>) -> Self {
        Self { card: card_to_save(model), model: Arc::clone(model) }
    }

    /// Whether it was begun with this model, as it was opened last.
    pub fn is_of(&self, model: &Arc<OpenModel>) -> bool {
        self.model.is_same(model)
    }

    pub fn reset(&mut self) {
        self.card = card_to_save(&self.model);
    }

    pub fn is_changed(&self) -> bool {
        let (ours, open) = (&self.card, &self.model.card);
        ours.input != open.input
            || ours.inputs != open.inputs
            || ours.grid != open.grid
            || ours.labels != open.labels
            || ours.detection != open.detection
    }
}

/// The open card without what is only true of a guess or of an edit in memory.
pub(in crate::ui::panels) fn card_to_save(model: &OpenModel) -> ModelCard {
    // A person who saves it has looked at it.
    let mut card = ModelCard { assumed: Vec::new(), ..model.card.clone() };
    // A k that was made changeable when the model was opened is no input of the file.
    card.top_k = card.top_k.filter(|top_k| top_k.input != TopKInput::Edited);
    if model.card_source == CardSource::Assumed {
        card.description = "Read from the graph, and looked at by a person where that tells nothing.".to_owned();
    }
    card
}

/// Where a field of the draft is from. `otherwise` is the reason of a field for which the guess gives none.
pub(super) fn origin<'a>(model: &'a OpenModel, field: &str, changed: bool, otherwise: &'a str) -> Origin<'a> {
    if changed {
        return Origin::Changed;
    }
    match model.reasons.iter().find(|reason| reason.field == field) {
        Some(reason) => Origin::Guess(reason.basis, &reason.text),
        None if model.card_source != CardSource::Assumed => Origin::Card,
        None => Origin::Guess(Basis::Assumed, otherwise),
    }
}
