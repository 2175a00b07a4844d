//! Choosing a router by hand: a person who knows of a gate that the finder does not see looks for its tensor, says how
//! experts are chosen by it, sees what would follow, and keeps it in the card beside the model.

mod form;
mod list;
#[cfg(test)]
mod tests;

use super::facts::part_ui;
use crate::analysis::OpenModel;
use crate::model::geometry::PlacedGate;
use crate::model::{LayerCard, ModelCard};
use crate::routing::LayerIdx;
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::panels::card::card_to_save;
use crate::ui::state::Sheet;
use egui::{Label, Ui};
use list::Matches;
use std::sync::Arc;

/// What the page remembers.
#[derive(Default)]
pub(super) struct ChooseUi {
    /// The tensors of a model, once they were asked for.
    listed: Option<(Arc<OpenModel>, Listing)>,
    /// What is looked for.
    words: String,
    matches: Matches,
    /// The layer that would be saved, and the tensor that it is read from.
    draft: Option<(PlacedGate, LayerCard)>,
    /// What saving it would write.
    result: Option<Outlook>,
    /// The layer that was saved with a model, to be shown when that is open with it.
    saved: Option<(Arc<OpenModel>, String)>,
}

/// The card that saving a layer would write, and what is wrong with it; kept until the layer is another.
struct Outlook {
    of: (Arc<OpenModel>, LayerCard),
    card: ModelCard,
    fault: Option<String>,
}

impl Outlook {
    fn of<'s>(kept: &'s mut Option<Self>, model: &Arc<OpenModel>, layer: &LayerCard) -> &'s Self {
        let fits = |it: &Self| Arc::ptr_eq(&it.of.0, model) && it.of.1 == *layer;
        let known = kept.take().filter(fits);
        kept.insert(known.unwrap_or_else(|| {
            let card = with_layer(model, layer);
            let fault = card.check(&model.description).err();
            Self { of: (Arc::clone(model), layer.clone()), card, fault }
        }))
    }
}

enum Listing {
    Asked,
    Here(Arc<Vec<PlacedGate>>),
    Failed(String),
}

impl ChooseUi {
    /// Takes the tensors of a model, if that is the one that they were asked for.
    pub fn take(&mut self, model: &Arc<OpenModel>, gates: Result<Arc<Vec<PlacedGate>>, String>) {
        if let Some((of, listing)) = self.listed.as_mut().filter(|(of, _)| of.is_same(model)) {
            *of = Arc::clone(model);
            *listing = gates.map_or_else(Listing::Failed, Listing::Here);
        }
    }

    /// The tensors of a model; asks for them the first time.
    fn gates(&mut self, ctx: &ViewCtx<'_>, model: &Arc<OpenModel>) -> &Listing {
        let kept = self.listed.take().filter(|(of, _)| of.is_same(model));
        if kept.is_none() {
            (self.draft, self.matches) = (None, Matches::default());
            self.words.clear();
            ctx.send(Command::ListGates(Arc::clone(model)));
        }
        &self.listed.insert(kept.unwrap_or_else(|| (Arc::clone(model), Listing::Asked))).1
    }

    /// Once the model is open with a layer that was saved, and its result is there: shows that layer.
    pub fn show_saved(&mut self, ctx: &ViewCtx<'_>) {
        let Some((before, path)) = &self.saved else { return };
        let Some(shown) = ctx.state.shown().filter(|shown| !shown.model.is_same(before)) else { return };
        if shown.model.path == before.path
            && let Some(layer) = shown.model.layers.iter().position(|layer| is_gate(&layer.card, path))
            && let Some(at) = shown.analysis.places.iter().position(|place| place.source == layer)
        {
            ctx.send(Command::SelectLayer(LayerIdx(at)));
            if ctx.state.sheet == Some(Sheet::Model) {
                ctx.send(Command::ToggleSheet(Sheet::Model));
            }
        }
        self.saved = None;
    }
}

fn is_gate(layer: &LayerCard, path: &str) -> bool {
    layer.chosen_by_hand && layer.gate().is_some_and(|(gate, _)| gate == path)
}

/// The page.
pub(super) fn choose_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &Arc<OpenModel>, local: &mut ChooseUi) {
    ui.label(design::heading("Choose a router yourself"));
    let text = "Where the finder misses a router, or takes it for something else: choose the tensor with the scores of \
                the experts. What follows from it is computed again by the rule that you choose, and marked.";
    ui.add(Label::new(text).wrap());
    chosen_ui(ui, ctx, model);
    let gates = match local.gates(ctx, model) {
        Listing::Asked => {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.weak("Looking at the tensors…");
            });
            return;
        }
        Listing::Failed(reason) => {
            ui.colored_label(ui.visuals().error_fg_color, format!("The tensors cannot be listed: {reason}"));
            return;
        }
        Listing::Here(gates) => Arc::clone(gates),
    };
    part_ui(ui, "1  The tensor");
    let ChooseUi { words, matches, draft, result, .. } = local;
    if let Some(picked) = list::list_ui(ui, &gates, words, matches, draft.as_ref().map(|(gate, _)| gate.path.as_str()))
        && let Some(gate) = gates.get(picked)
    {
        *draft = Some((gate.clone(), gate.layer()));
    }
    let Some((gate, layer)) = draft else {
        ui.add_space(space::S);
        ui.weak("Pick a tensor to go on");
        return;
    };
    part_ui(ui, "2  What it is");
    form::form_ui(ui, gate, layer);
    part_ui(ui, "3  What follows");
    form::checks_ui(ui, model, gate, layer);
    let outlook = Outlook::of(result, model, layer);
    if let Some(fault) = &outlook.fault {
        ui.colored_label(ui.visuals().error_fg_color, format!("Cannot be saved: {fault}"));
    }
    ui.add_space(space::S);
    let help = "Write it into the card beside the model, and open the model with it";
    let save = ui.add_enabled(outlook.fault.is_none(), egui::Button::new(design::strong("Save and show")));
    if save.on_hover_text(help).clicked() {
        local.saved = Some((Arc::clone(model), gate.path.clone()));
        ctx.send(Command::SaveCard(Arc::clone(model), Box::new(outlook.card.clone())));
    }
}

/// The layers that were chosen before, each with a way to take it out again.
fn chosen_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, model: &Arc<OpenModel>) {
    let chosen = model.card.layers.iter().enumerate().filter(|(_, layer)| layer.chosen_by_hand);
    let mut chosen = chosen.peekable();
    if chosen.peek().is_none() {
        return;
    }
    part_ui(ui, "Chosen by hand");
    if let Some(reason) = &model.hidden_routing {
        ui.colored_label(ui.visuals().warn_fg_color, format!("Not shown: {reason}"));
    }
    for (at, layer) in chosen {
        ui.horizontal(|ui| {
            let remove = ui.small_button("Remove").on_hover_text("Take it out of the card beside the model");
            let name = format!("Remove {}", layer.name);
            remove.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &name));
            if remove.clicked() {
                let mut card = card_of(model);
                card.layers.remove(at);
                ctx.send(Command::SaveCard(Arc::clone(model), Box::new(card)));
            }
            let tensor = layer.gate().map_or("", |(path, _)| path);
            ui.label(&layer.name);
            ui.add(Label::new(egui::RichText::new(tensor).weak()).truncate());
        });
    }
}

/// The card of the open model as it would be saved with one layer more, or with another one of the same tensor.
fn with_layer(model: &OpenModel, layer: &LayerCard) -> ModelCard {
    let mut card = card_of(model);
    let path = layer.gate().map_or("", |(path, _)| path);
    match card.layers.iter().position(|other| is_gate(other, path)) {
        Some(same) => card.layers[same] = layer.clone(),
        None => card.layers.push(layer.clone()),
    }
    card
}

/// The card of the open model. That a person chose a router says nothing of how images are fed: what was assumed of that
/// stays marked.
fn card_of(model: &OpenModel) -> ModelCard {
    let assumed = model.reasons.iter().filter(|reason| reason.is_assumed() && !reason.field.starts_with("layers"));
    ModelCard { assumed: assumed.cloned().collect(), ..card_to_save(model) }
}
