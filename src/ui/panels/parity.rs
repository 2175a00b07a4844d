//! The comparison with another provider: which patches change their experts when the same model runs on something else?
//! Each change is shown with its margin, because that tells rounding from a fault.

mod chart;
mod flips;
#[cfg(test)]
mod tests;

use crate::analysis::{LayerSum, ParitySum};
use crate::engine::{Execution, Precision, Provider, ProviderChoice};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, space};
use crate::ui::state::{ParityStage, ParityState, Sheet};
use crate::ui::widgets;
use egui::{Align, ComboBox, DragValue, Label, Layout, ProgressBar, Role, ScrollArea, Spinner, Ui, WidgetInfo, vec2};

/// What it remembers by itself: what the CPU will be compared with.
pub struct ParityUi {
    provider: Provider,
    half: bool,
    threads: usize,
}

impl Default for ParityUi {
    fn default() -> Self {
        Self { provider: Provider::WebGpu, half: false, threads: 1 }
    }
}

impl ParityUi {
    /// On this provider or not at all; what else was set when the program was started stays.
    fn execution(&self, base: &Execution) -> Execution {
        let mut execution = base.clone();
        let on_cpu = self.provider == Provider::Cpu;
        execution.threads = if on_cpu { Some(self.threads) } else { base.threads };
        execution.provider.choice = ProviderChoice::Require(self.provider);
        execution.provider.options.precision = if self.half && !on_cpu { Precision::Half } else { Precision::Full };
        execution
    }
}

/// The window of the comparison, if it is open: beside the picture, so that a patch can be looked at there.
pub fn parity_ui(ui: &Ui, ctx: &ViewCtx<'_>, local: &mut ParityUi) {
    if ctx.state.sheet != Some(Sheet::Parity) {
        return;
    }
    widgets::side_window(ui, "parity", vec2(540.0, 600.0), 80.0, |ui| {
        header_ui(ui, ctx);
        setup_ui(ui, ctx, local);
        stage_ui(ui, &ctx.state.parity);
        if ctx.state.parity.sum.images > 0 {
            ScrollArea::vertical().id_salt("parity").auto_shrink(false).show(ui, |ui| results_ui(ui, ctx));
        } else {
            ui.add_space(space::S);
            explanation_ui(ui);
        }
    });
}

fn header_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    ui.horizontal(|ui| {
        ui.label(design::heading("Compare with another provider"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button("Close").on_hover_text("Key: P. A comparison that runs goes on").clicked() {
                ctx.send(Command::ToggleSheet(Sheet::Parity));
            }
        });
    });
    ui.separator();
}

/// What the CPU is compared with, and the button that starts or stops.
fn setup_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, local: &mut ParityUi) {
    ui.horizontal_wrapped(|ui| {
        ui.label("The CPU against");
        let name = local.provider.name();
        let menu = ComboBox::from_id_salt("other provider").selected_text(name).width(110.0).show_ui(ui, |ui| {
            for provider in Provider::ALL {
                ui.selectable_value(&mut local.provider, provider, provider.name()).on_hover_text(provider.about());
            }
        });
        let response = menu.response.on_hover_text(local.provider.about());
        response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, format!("Other provider: {name}")));
        if local.provider == Provider::Cpu {
            let label = ui.label("with threads");
            let help = "The CPU itself with another number of threads adds in another order, which rounds differently";
            ui.add(DragValue::new(&mut local.threads).range(1..=256)).labelled_by(label.id).on_hover_text(help);
        } else {
            let help = "In 16-bit floats where the provider can: faster, and patches whose gates are close change their experts";
            ui.checkbox(&mut local.half, "Half precision").on_hover_text(help);
        }
        start_ui(ui, ctx, local);
    });
}

fn start_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, local: &ParityUi) {
    if ctx.state.parity.is_running() {
        if ui.button("Stop").on_hover_text("What came out so far stays").clicked() {
            ctx.send(Command::StopParity);
        }
        return;
    }
    let images = ctx.state.images.entries().iter().filter(|entry| entry.error.is_none()).count();
    let text = if images == 1 { "Compare 1 image".to_owned() } else { format!("Compare {images} images") };
    let possible = images > 0 && ctx.state.model.open.is_some();
    let button = ui.add_enabled(possible, egui::Button::new(text));
    let help = "Runs the model on all open images, once on the CPU and once on the other; the window stays usable";
    if button.on_hover_text(help).on_disabled_hover_text("Open a model and an image first").clicked() {
        ctx.send(Command::StartParity(local.execution(&ctx.state.model.execution)));
    }
}

/// How far it is, or why it went no further.
fn stage_ui(ui: &mut Ui, parity: &ParityState) {
    let (done, all) = (parity.images.len(), parity.wish.as_ref().map_or(0, |wish| wish.images.len()));
    match &parity.stage {
        ParityStage::Idle | ParityStage::Done => {}
        ParityStage::Opening => {
            ui.horizontal(|ui| {
                ui.add(Spinner::new().size(14.0));
                ui.label("Opening the model on both");
            });
        }
        ParityStage::Running => {
            let share = done as f32 / all.max(1) as f32;
            ui.add(ProgressBar::new(share).desired_height(14.0).text(format!("{done} of {all} images")));
        }
        ParityStage::Stopped => drop(ui.weak(format!("Stopped after {done} of {all} images"))),
        ParityStage::Failed(message) => {
            let error = ui.visuals().error_fg_color;
            ui.add(Label::new(egui::RichText::new(message).color(error)).wrap());
        }
    }
    for message in parity.images.iter().filter_map(|(_, result)| result.as_ref().err()) {
        ui.add(Label::new(egui::RichText::new(message).color(ui.visuals().warn_fg_color)).wrap());
    }
}

fn explanation_ui(ui: &mut Ui) {
    let text = "Two ways to compute are never equal to the last bit. Where a patch's last chosen expert is hardly ahead of the \
                next one, rounding gives it another expert, and every later layer is fed differently. A change at a margin \
                of 1e-7 is rounding; one at 0.1 is a fault of a driver or of a conversion.";
    ui.add(Label::new(egui::RichText::new(text).weak()).wrap());
}

fn results_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    let parity = &ctx.state.parity;
    ui.add_space(space::S);
    ui.add(Label::new(design::strong(summary(&parity.sum))).wrap());
    if let Some(wish) = &parity.wish {
        ui.add(Label::new(egui::RichText::new(subject(wish.top_k, &wish.other)).weak()).wrap());
    }
    ui.add_space(space::S);
    layers_ui(ui, ctx, &parity.sum.layers);
    flips::images_ui(ui, ctx);
    flips::flips_ui(ui, ctx);
    ui.add_space(space::S);
    explanation_ui(ui);
}

/// All images and layers in one sentence.
fn summary(sum: &ParitySum) -> String {
    let (flipped, patches) = sum.flipped_of();
    let images = if sum.images == 1 { "1 image".to_owned() } else { format!("{} images", sum.images) };
    let classes = match sum.other_best_class {
        0 => "the same best class".to_owned(),
        changed => format!("ANOTHER best class for {changed}"),
    };
    format!(
        "{images}: {flipped} of {patches} patches of {} layers changed experts; logits differ by {} at most; {classes}",
        sum.layers.len(),
        difference(sum.max_logit_difference)
    )
}

/// A largest difference; results that are equal to the last bit are told so.
fn difference(value: f32) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

/// What was compared, as the results may be older than the settings above them.
fn subject(top_k: Option<usize>, other: &Execution) -> String {
    let at = top_k.map_or(String::new(), |k| format!(" at k = {k}"));
    let provider = match other.provider.choice {
        ProviderChoice::Require(provider) | ProviderChoice::Prefer(provider) => provider.name(),
        ProviderChoice::Auto => "the first provider that starts",
    };
    let threads = match other.threads {
        Some(1) => " with 1 thread".to_owned(),
        Some(threads) => format!(" with {threads} threads"),
        None => String::new(),
    };
    let precision = if other.provider.options.precision == Precision::Half { " in half precision" } else { "" };
    format!("The CPU against {provider}{threads}{precision}{at}")
}

/// A row for each layer; a click shows it in the picture.
fn layers_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, layers: &[LayerSum]) {
    let widths = chart::columns(ui.available_width());
    chart::heading_ui(ui, widths);
    let height = chart::ROW_HEIGHT;
    ScrollArea::vertical().id_salt("parity layers").max_height(240.0).auto_shrink([false, true]).show_rows(
        ui,
        height,
        layers.len(),
        |ui, rows| rows.for_each(|at| chart::row_ui(ui, ctx, (at, &layers[at]), widths)),
    );
}
