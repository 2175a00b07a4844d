//! What stands where in the window, and what panels remember by themselves.

use super::ctx::ViewCtx;
use super::panels::card::CardUi;
use super::panels::heatmap::{HeatmapUi, heatmap_ui};
use super::panels::images::{ImagesUi, images_ui, samples_ui};
use super::panels::model::ModelUi;
use super::panels::parity::ParityUi;
use super::panels::{
    changes, inspector, layers, legend, load, multiples, notices, predictions, routing, status, toolbar, top_bar,
};
use super::state::{Side, file_name};
use super::thumbnails::ThumbnailTextures;
use egui::{CentralPanel, Frame, Margin, Panel, Ui};

/// Width of the side panels, in points.
const LEFT_WIDTH: f32 = 220.0;
const RIGHT_WIDTH: f32 = 320.0;
/// Below this width of the window the side panels fold, in points.
const MIN_WIDTH_FOR_PANELS: f32 = 900.0;

/// What panels remember by themselves.
#[derive(Default)]
pub(super) struct PanelState {
    pub(super) card: CardUi,
    pub(super) heatmap: HeatmapUi,
    pub(super) images: ImagesUi,
    pub(super) model: ModelUi,
    pub(super) parity: ParityUi,
}

/// The whole window: bars above and below, images and layers on the left, numbers on the right, the picture between.
pub(super) fn window_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, thumbnails: &ThumbnailTextures, local: &mut PanelState) {
    let frame = panel_frame(ui);
    let bar = frame.inner_margin(Margin::symmetric(10, 4));
    let narrow = ui.available_width() < MIN_WIDTH_FOR_PANELS;
    Panel::top("top bar").frame(bar).show(ui, |ui| top_bar::top_bar_ui(ui, ctx, narrow));
    Panel::bottom("status").exact_size(24.0).frame(bar.inner_margin(Margin::symmetric(10, 2))).show(ui, |ui| {
        status::status_ui(ui, ctx);
    });
    let shows = |side: Side| !narrow || ctx.state.view.narrow_side == Some(side);
    if shows(Side::Left) {
        Panel::left("left").default_size(LEFT_WIDTH).size_range(180.0..=360.0).frame(frame).show(ui, |ui| {
            left_ui(ui, ctx, thumbnails, &mut local.images);
        });
    }
    if shows(Side::Right) {
        Panel::right("right").default_size(RIGHT_WIDTH).size_range(280.0..=520.0).frame(frame).show(ui, |ui| {
            right_ui(ui, ctx);
        });
    }
    CentralPanel::default().frame(frame).show(ui, |ui| center_ui(ui, ctx, &mut local.heatmap));
}

fn left_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, thumbnails: &ThumbnailTextures, local: &mut ImagesUi) {
    let inner = Frame::new().inner_margin(Margin { top: 8, ..Margin::ZERO });
    Panel::bottom("layers").exact_size(layers::wanted_height(ui, ctx)).frame(inner).show(ui, |ui| {
        layers::layers_ui(ui, ctx);
    });
    Panel::bottom("samples").frame(inner).show(ui, |ui| samples_ui(ui, ctx, thumbnails));
    CentralPanel::no_frame().show(ui, |ui| images_ui(ui, ctx, thumbnails, local));
}

fn right_ui(ui: &mut Ui, ctx: &ViewCtx<'_>) {
    egui::ScrollArea::vertical().id_salt("right").auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 3.0;
        predictions::predictions_ui(ui, ctx);
        ui.separator();
        routing::routing_ui(ui, ctx);
        if ctx.state.shown_layer().is_some() {
            ui.separator();
            load::load_ui(ui, ctx);
            ui.separator();
            inspector::inspector_ui(ui, ctx);
        }
    });
}

fn center_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, local: &mut HeatmapUi) {
    notices::notices_ui(ui, ctx);
    changes::banner_ui(ui, ctx);
    toolbar::toolbar_ui(ui, ctx);
    let below = Frame::new().inner_margin(Margin { top: 6, ..Margin::ZERO });
    let has_routing = ctx.state.shown_layer().is_some();
    if has_routing {
        Panel::bottom("legend").frame(below).show_separator_line(false).show(ui, |ui| legend::legend_ui(ui, ctx));
        if ctx.state.results.multiples().len() > 1 {
            Panel::bottom("multiples").frame(below).show_separator_line(false).show(ui, |ui| {
                multiples::multiples_ui(ui, ctx);
            });
        }
    }
    CentralPanel::no_frame().show(ui, |ui| heatmap_ui(ui, ctx, local));
}

fn panel_frame(ui: &Ui) -> Frame {
    Frame::new().fill(ui.visuals().panel_fill).inner_margin(Margin::symmetric(10, 8))
}

/// While files hover over the window: what dropping them would do.
pub(super) fn drop_hint_ui(ctx: &egui::Context) {
    let hovered: Vec<String> = ctx.input(|input| {
        let paths = input.raw.hovered_files.iter().filter_map(|file| file.path.as_deref());
        paths.map(file_name).collect()
    });
    if hovered.is_empty() && ctx.input(|input| input.raw.hovered_files.is_empty()) {
        return;
    }
    let layer = egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop hint"));
    let painter = ctx.layer_painter(layer);
    let rect = ctx.content_rect();
    painter.rect_filled(rect, 0, egui::Color32::from_black_alpha(170));
    let text = format!("Drop to open {}", hovered.join(", "));
    let font = egui::TextStyle::Heading.resolve(&ctx.global_style());
    painter.text(rect.center(), egui::Align2::CENTER_CENTER, text, font, egui::Color32::WHITE);
}
