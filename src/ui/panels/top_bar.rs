//! The menus, and what runs: model, provider, time.

use crate::analysis::OpenModel;
use crate::engine::{Provider, ProviderChoice};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::settings::Settings;
use crate::ui::state::{Sheet, Side};
use crate::ui::widgets::millis;
use egui::{Button, MenuBar, Sense, ThemePreference, Ui, vec2};

/// Name, menus, model, provider, theme, help. A narrow window has buttons for its side panels instead of the model.
pub fn top_bar_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, narrow: bool) {
    MenuBar::new().ui(ui, |ui| {
        ui.label(design::strong("MoE Scope"));
        ui.add_space(space::S);
        ui.menu_button("File", |ui| file_menu(ui, ctx));
        ui.menu_button("View", |ui| view_menu(ui, ctx));
        ui.menu_button("Help", |ui| help_menu(ui, ctx));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if ui.button("?").on_hover_text("Keyboard shortcuts").clicked() {
                ctx.send(Command::ToggleSheet(Sheet::Shortcuts));
            }
            theme_button(ui, ctx);
            if narrow {
                side_buttons(ui, ctx);
            } else {
                run_chip(ui, ctx);
                model_chip(ui, ctx);
            }
        });
    });
}

fn item(ui: &mut Ui, ctx: &ViewCtx<'_>, text: &str, keys: &str, command: Command) {
    if ui.add(Button::new(text).shortcut_text(keys)).clicked() {
        ctx.send(command);
    }
}

fn file_menu(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    item(ui, ctx, "Open images…", "Ctrl+O", Command::ShowImageDialog);
    item(ui, ctx, "Open a model…", "Ctrl+M", Command::ShowModelDialog);
    ui.add_enabled_ui(ctx.state.default_model.is_some(), |ui| {
        item(ui, ctx, "Open the bundled model", "", Command::OpenDefaultModel);
    });
    ui.menu_button("Samples", |ui| {
        for sample in crate::input::SAMPLES {
            let button = ui.button(sample.title).on_hover_text(format!("{}\n{}", sample.credit, sample.license));
            if button.clicked() {
                ctx.send(Command::OpenSample(sample.id));
            }
        }
    });
    ui.separator();
    item(ui, ctx, "Copy the window as a picture", "Ctrl+C", Command::CopyView);
    ui.separator();
    item(ui, ctx, "Quit", "Ctrl+Q", Command::Quit);
}

fn view_menu(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    for overlay in ctx.state.overlays() {
        let picked = ctx.state.overlay() == overlay && !ctx.state.view.hide_overlay;
        if ui.radio(picked, overlay.label()).on_hover_text(overlay.explanation()).clicked() {
            ctx.send(Command::SetOverlay(overlay));
        }
    }
    ui.separator();
    let toggles = [
        ("Heatmap", "Space", !ctx.state.view.hide_overlay, Command::ToggleOverlay),
        ("Patch grid", "G", ctx.state.settings.grid, Command::ToggleGrid),
        ("What the model saw", "C", ctx.state.settings.crop, Command::ToggleCrop),
    ];
    for (text, keys, mut on, command) in toggles {
        if ui.checkbox(&mut on, text).on_hover_text(format!("Key: {keys}")).clicked() {
            ctx.send(command);
        }
    }
    ui.separator();
    ui.add_enabled_ui(ctx.state.model.open.is_some(), |ui| {
        item(ui, ctx, "About the model", "I", Command::ToggleSheet(Sheet::Model));
        item(ui, ctx, "Model card…", "M", Command::ToggleSheet(Sheet::Card));
        item(ui, ctx, "Compare with another provider…", "P", Command::ToggleSheet(Sheet::Parity));
    });
    ui.separator();
    item(ui, ctx, "Fit the image", "F", Command::FitImage);
    item(ui, ctx, "One image pixel per screen pixel", "0", Command::ZoomToPixels);
    ui.separator();
    ui.menu_button("Theme", |ui| {
        let themes =
            [("Light", ThemePreference::Light), ("Dark", ThemePreference::Dark), ("System", ThemePreference::System)];
        for (text, theme) in themes {
            if ui.radio(ctx.state.settings.theme == theme, text).clicked() {
                ctx.send(Command::SetTheme(theme));
            }
        }
    });
    ui.menu_button("Scale", |ui| {
        for zoom in Settings::ZOOMS {
            if ui.radio(ctx.state.settings.zoom == zoom, format!("{:.0} %", zoom * 100.0)).clicked() {
                ctx.send(Command::SetZoom(zoom));
            }
        }
    });
}

fn help_menu(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    item(ui, ctx, "Keyboard shortcuts", "?", Command::ToggleSheet(Sheet::Shortcuts));
    ui.separator();
    ui.weak(concat!("MoE Scope ", env!("CARGO_PKG_VERSION")));
}

/// A circle, half filled: no bundled font has the sign.
fn theme_button(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let (name, other) = if ui.visuals().dark_mode {
        ("Switch to the light theme", ThemePreference::Light)
    } else {
        ("Switch to the dark theme", ThemePreference::Dark)
    };
    let (rect, response) = ui.allocate_exact_size(vec2(26.0, 22.0), Sense::click());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, name));
    let visuals = ui.style().interact(&response);
    let painter = ui.painter();
    painter.rect_filled(rect, visuals.corner_radius, visuals.bg_fill);
    let (center, radius) = (rect.center(), 6.0);
    let half = painter.with_clip_rect(rect.with_max_x(center.x));
    half.circle_filled(center, radius, visuals.fg_stroke.color);
    painter.circle_stroke(center, radius, egui::Stroke::new(1.5, visuals.fg_stroke.color));
    if response.on_hover_text(name).clicked() {
        ctx.send(Command::SetTheme(other));
    }
}

fn side_buttons(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let sides = [
        (Side::Right, "Numbers", "Predictions, top-k, load and the inspector"),
        (Side::Left, "Images", "Images, samples and layers"),
    ];
    for (side, text, help) in sides {
        if ui.selectable_label(ctx.state.view.narrow_side == Some(side), text).on_hover_text(help).clicked() {
            ctx.send(Command::ToggleSide(side));
        }
    }
}

fn run_chip(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let Some(shown) = ctx.state.shown() else { return };
    let seconds = shown.analysis.seconds;
    let text = format!("{} · {}", shown.analysis.provider.name(), millis(seconds.inference));
    let menu = ui.menu_button(text, |ui| provider_menu(ui, ctx));
    menu.response.on_hover_ui(|ui| {
        ui.label(format!(
            "Execution provider that ran the model, and the time of that run\nDecode {}\nPreprocess {}\nInference {}\n\
             Statistics {}\n{}\nClick to run this model on something else",
            millis(seconds.decode),
            millis(seconds.preprocess),
            millis(seconds.inference),
            millis(seconds.statistics),
            shown.model.placement.sentence(shown.model.provider),
        ));
    });
    ui.separator();
}

/// What the wanted model runs on. A provider that does not start is told, and the CPU runs instead.
fn provider_menu(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.weak("Run this model on");
    let wanted = ctx.state.wanted().model.map(|model| model.execution.provider.choice).unwrap_or_default();
    let automatic = (ProviderChoice::Auto, "Automatic", "The first that is installed and starts");
    let named = Provider::ALL.map(|provider| (ProviderChoice::Prefer(provider), provider.name(), provider.about()));
    for (choice, name, about) in [automatic].into_iter().chain(named) {
        let demanded =
            matches!(choice, ProviderChoice::Prefer(provider) if wanted == ProviderChoice::Require(provider));
        let picked = wanted == choice || demanded;
        if ui.radio(picked, name).on_hover_text(about).clicked() {
            ctx.send(Command::SetProvider(choice));
        }
    }
    ui.separator();
    item(ui, ctx, "Compare with another provider…", "P", Command::ToggleSheet(Sheet::Parity));
    ui.weak("moescope runtime list: what is installed");
}

/// Layers as the list counts them: routers over the same experts are one. Before there is a result, routers.
fn num_layers(ctx: &ViewCtx<'_>, model: &OpenModel) -> usize {
    let shown = ctx.state.shown().filter(|shown| shown.model.version == model.version);
    let is_whole = shown.is_some_and(|shown| shown.analysis.unreadable.is_empty());
    if is_whole { ctx.state.results.outline().num_layers() } else { model.layers.len() }
}

fn moe_layers(count: usize) -> String {
    if count == 1 { "1 MoE layer".to_owned() } else { format!("{count} MoE layers") }
}

fn model_chip(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    if ctx.state.model.opening {
        if ui.small_button("Cancel").on_hover_text("Stop loading and stay with the model that is open").clicked() {
            ctx.send(Command::CancelOpening);
        }
        ui.weak("loading the model…");
        ui.spinner();
        return;
    }
    let Some(model) = &ctx.state.model.open else {
        ui.weak("no model");
        return;
    };
    let card = &model.card;
    let count = num_layers(ctx, model);
    let text = match model.layers.as_slice() {
        [] => format!("{} · no routers", card.name),
        [first, rest @ ..] if rest.iter().all(|layer| layer.card.num_experts == first.card.num_experts) => {
            format!("{} · {} × {} experts", card.name, moe_layers(count), first.card.num_experts)
        }
        _ => format!("{} · {}", card.name, moe_layers(count)),
    };
    let chip = ui.add(Button::new(text).frame_when_inactive(false).truncate()).on_hover_ui(|ui| {
        ui.label(design::strong(&card.name));
        ui.label(&card.description);
        ui.weak(format!("Gating: {}", card.gating.rule));
        ui.weak(model.path.display().to_string());
        ui.weak("Click for everything about it (key: I)");
    });
    if chip.clicked() {
        ctx.send(Command::ToggleSheet(Sheet::Model));
    }
}

#[cfg(test)]
mod tests {
    use super::top_bar_ui;
    use crate::model::ModelCard;
    use crate::routing::{LayerRouting, TopK};
    use crate::ui::panels::testing::{Alone, state_of};
    use crate::ui::state::tests::open_model;
    use egui_kittest::kittest::Queryable;
    use std::sync::Arc;

    #[test]
    fn a_long_name_leaves_room_for_the_menus() {
        let top_k = TopK::new(1, 2).unwrap();
        let layer = LayerRouting::new("l", 2, top_k, vec![0.5; 2], &[0], vec![1.0]).unwrap();
        let mut state = state_of(vec![layer], 1, 1);
        let mut model = open_model("model.onnx");
        model.card = ModelCard { name: "n".repeat(500), ..model.card };
        state.model.open = Some(Arc::new(model));
        let mut alone = Alone::new(state, (), |ui, ctx, ()| top_bar_ui(ui, ctx, false));
        alone.harness.run_steps(3);
        let chip = alone.harness.get_by_label_contains("nnn").rect();
        let menu = alone.harness.get_by_label("Help").rect();
        assert!(chip.left() >= menu.right(), "{chip:?} lies over {menu:?}");
    }
}
