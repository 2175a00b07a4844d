//! Where the tokens lie on the image, and what the other inputs are fed.

use super::draft::{Draft, Origin, origin};
use super::rows::{below_ui, row_ui};
use crate::analysis::OpenModel;
use crate::model::geometry::Basis;
use crate::model::{Fill, GridCard, LayerCard, TokenLayout, TokenOrder};
use egui::{DragValue, Id, Label, RichText, Ui};

/// Patches on a side, and other tokens, beyond this are a mistake.
const MOST: usize = 1 << 20;

/// The rows about the grid of patches, and the layers that have another one.
pub(super) fn tokens_ui(ui: &mut Ui, draft: &mut Draft) {
    let Draft { model, card } = draft;
    let (guess, grid) = (&model.card.grid, &mut card.grid);
    let from = origin(model, "grid", (grid.rows, grid.cols) != (guess.rows, guess.cols), "");
    row_ui(ui, "Patches", "Rows × columns of patches on the image that the model sees", from, |ui, name| {
        number_ui(ui, name, &mut grid.rows, 1);
        ui.label("rows ×");
        number_ui(ui, name, &mut grid.cols, 1);
        ui.label("columns");
    });
    let before = "Class and register tokens, and text, before the first patch";
    let from = beside_patches(model, grid.prefix_tokens != guess.prefix_tokens);
    row_ui(ui, "Tokens before", before, from, |ui, name| number_ui(ui, name, &mut grid.prefix_tokens, 0));
    let after = "Tokens after the last patch, such as text";
    let from = beside_patches(model, grid.suffix_tokens != guess.suffix_tokens);
    row_ui(ui, "Tokens after", after, from, |ui, name| number_ui(ui, name, &mut grid.suffix_tokens, 0));
    for (index, layer) in model.card.layers.iter().enumerate() {
        if let Some(text) = own_layout(layer) {
            let fields = [format!("layers[{index}].grid"), format!("layers[{index}].tokens")];
            let field = fields.iter().find(|field| model.reasons.iter().any(|reason| reason.field == **field));
            let from = origin(model, field.map_or("", String::as_str), false, "");
            let name = format!("Layer {}", index + 1);
            row_ui(ui, &name, &layer.name, from, |ui, _| drop(ui.add(Label::new(text).truncate())));
        }
    }
}

/// Where the numbers of other tokens are from: they stand or fall with the grid, whose reason is told once.
fn beside_patches(model: &OpenModel, changed: bool) -> Origin<'_> {
    match origin(model, "grid", changed, "") {
        Origin::Guess(Basis::Assumed, _) => Origin::Guess(Basis::Assumed, "As for the patches."),
        origin => origin,
    }
}

/// What a layer's tokens are, where that is not as the grid of the model says.
fn own_layout(layer: &LayerCard) -> Option<String> {
    match (layer.tokens, &layer.grid) {
        (TokenLayout::Image, _) => Some("one decision for the image".to_owned()),
        (TokenLayout::Unplaced, _) => Some("no place on the image".to_owned()),
        (TokenLayout::Patches, Some(grid)) => Some(grid_text(grid)),
        (TokenLayout::Patches, None) => None,
    }
}

fn grid_text(grid: &GridCard) -> String {
    let GridCard { rows, cols, prefix_tokens, suffix_tokens, order } = grid;
    let order = match order {
        TokenOrder::RowMajor => String::new(),
        TokenOrder::Windows { rows, cols, .. } => format!(", in windows of {rows} × {cols}"),
        TokenOrder::Listed(_) if grid.padding_tokens() > 0 => format!(", {} of padding", grid.padding_tokens()),
        TokenOrder::Listed(_) => ", in its own order".to_owned(),
    };
    let others = match prefix_tokens + suffix_tokens {
        0 => String::new(),
        others => format!(", {others} other tokens"),
    };
    format!("{rows} × {cols}{order}{others}")
}

/// The rows about the inputs that are not the image.
pub(super) fn inputs_ui(ui: &mut Ui, draft: &mut Draft) {
    let Draft { model, card } = draft;
    for (index, input) in card.inputs.iter_mut().enumerate() {
        let changed = model.card.inputs.get(index) != Some(input);
        let field = format!("inputs[{index}]");
        let from = origin(model, &field, changed, "");
        let help = format!("{}, of shape {:?}", input.name, input.shape);
        row_ui(ui, &input.name, &help, from, |ui, name| match &mut input.fill {
            Fill::Value(value) => {
                ui.add(DragValue::new(value).speed(0.1)).labelled_by(name);
                if !input.shape.is_empty() {
                    ui.label("everywhere");
                }
            }
            Fill::Values(values) => drop(ui.label(format!("{} values", values.len()))),
        });
        if let Fill::Values(values) = &input.fill {
            below_ui(ui, |ui| drop(ui.add(Label::new(RichText::new(beginning(values)).small().weak()).truncate())));
        }
    }
}

/// The first values, for a look at them.
fn beginning(values: &[f64]) -> String {
    const SHOWN: usize = 12;
    let first: Vec<String> = values.iter().take(SHOWN).map(f64::to_string).collect();
    format!("{}{}", first.join(", "), if values.len() > SHOWN { ", …" } else { "" })
}

fn number_ui(ui: &mut Ui, name: Id, value: &mut usize, least: usize) {
    ui.add(DragValue::new(value).speed(0.1).range(least..=MOST)).labelled_by(name);
}
