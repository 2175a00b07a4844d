//! The images that are open, the bundled samples, and the ways to open more.

use crate::analysis::ImageSpec;
use crate::input::{SAMPLES, Sample};
use crate::ui::command::Command;
use crate::ui::ctx::ViewCtx;
use crate::ui::design::{self, RADIUS, space};
use crate::ui::panels::multiples::fitted;
use crate::ui::state::ImageEntry;
use crate::ui::thumbnails::{ThumbnailKey, ThumbnailTextures};
use egui::{Rect, Response, Sense, StrokeKind, TextEdit, Ui, vec2};
use std::path::PathBuf;

const ROW_HEIGHT: f32 = 44.0;
const SAMPLE_SIDE: f32 = 46.0;

/// What the panel remembers by itself: the text in the path box.
#[derive(Debug, Default)]
pub struct ImagesUi {
    path: String,
}

/// Heading with the open button, the path box, and the list of open images.
pub fn images_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, thumbnails: &ThumbnailTextures, local: &mut ImagesUi) {
    ui.horizontal(|ui| {
        ui.label(design::heading("Images"));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if ui.button("Open…").on_hover_text("Open images (Ctrl+O); or drop files on the window, or paste").clicked()
            {
                ctx.send(Command::ShowImageDialog);
            }
        });
    });
    path_box_ui(ui, ctx, local);
    ui.add_space(space::XS);
    egui::ScrollArea::vertical().id_salt("images").auto_shrink([false, false]).show_rows(
        ui,
        ROW_HEIGHT,
        ctx.state.images.entries().len(),
        |ui, rows| {
            for entry in &ctx.state.images.entries()[rows] {
                entry_ui(ui, ctx, thumbnails, entry);
            }
        },
    );
}

/// A path typed or pasted opens as an image or a model; it works where no file dialog is to be had.
fn path_box_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, local: &mut ImagesUi) {
    let edit =
        TextEdit::singleline(&mut local.path).hint_text("Path of an image or .onnx model").desired_width(f32::INFINITY);
    let response = ui.add(edit).on_hover_text("Type or paste a path, then press Enter");
    // A hint is no name: it is gone as soon as something is typed.
    ui.ctx().accesskit_node_builder(response.id, |node| node.set_label("Path of an image or model"));
    let entered = response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
    let path = local.path.trim().trim_matches('"');
    if entered && !path.is_empty() {
        ctx.send(Command::OpenPaths(vec![PathBuf::from(path)]));
        local.path.clear();
    }
}

fn entry_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, thumbnails: &ThumbnailTextures, entry: &ImageEntry) {
    let current = ctx.state.images.current().is_some_and(|current| current.id == entry.id);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW_HEIGHT), Sense::click());
    let second = match (&entry.error, &entry.best) {
        (Some(_), _) => "cannot be opened".to_owned(),
        (None, Some((label, probability))) => format!("{label} {:.0} %", probability * 100.0),
        (None, None) if current => "…".to_owned(),
        (None, None) => String::new(),
    };
    response.widget_info(|| {
        let name = format!("Image {}", entry.title);
        egui::WidgetInfo::selected(egui::Role::Button, true, current, name)
    });
    if response.clicked() {
        ctx.send(Command::SelectImage(entry.id));
    }
    response.context_menu(|ui| {
        if ui.button("Close this image").clicked() {
            ctx.send(Command::CloseImage(entry.id));
        }
    });
    if ui.is_rect_visible(rect) {
        highlight(ui, rect, &response, current);
        let side = ROW_HEIGHT - 8.0;
        let picture = Rect::from_min_size(rect.min + vec2(4.0, 4.0), vec2(side, side));
        paint_thumbnail(ui, thumbnails, ThumbnailKey::of(entry), &entry.spec, picture);
        let width = rect.right() - picture.right() - 2.0 * space::S;
        let at = picture.right_top() + vec2(space::S, 2.0);
        paint_text(ui, at, width, &entry.title, ui.visuals().text_color());
        let color = if entry.error.is_some() { ui.visuals().error_fg_color } else { ui.visuals().weak_text_color() };
        paint_text(ui, at + vec2(0.0, 17.0), width, &second, color);
    }
    let size = entry.size.map_or(String::new(), |[width, height]| format!("\n{width} × {height} pixels"));
    response.on_hover_text(match &entry.error {
        Some(error) => format!("{}\n{error}", entry.title),
        None => format!("{}{size}\n{second}", entry.title),
    });
}

/// Heading, and a small picture of each bundled sample.
pub fn samples_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, thumbnails: &ThumbnailTextures) {
    ui.label(design::heading("Samples")).on_hover_text("Photos that come with the program; each names its source");
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(4.0, 4.0);
        for sample in SAMPLES {
            sample_ui(ui, ctx, thumbnails, sample);
        }
    });
}

fn sample_ui(ui: &mut Ui, ctx: &ViewCtx<'_>, thumbnails: &ThumbnailTextures, sample: &'static Sample) {
    let spec = ImageSpec::Sample(sample.id);
    let current = ctx.state.images.current().is_some_and(|entry| entry.spec == spec);
    let (rect, response) = ui.allocate_exact_size(vec2(SAMPLE_SIDE, SAMPLE_SIDE), Sense::click());
    response.widget_info(|| {
        egui::WidgetInfo::selected(egui::Role::Button, true, current, format!("Sample {}", sample.title))
    });
    if response.clicked() {
        ctx.send(Command::OpenSample(sample.id));
    }
    if ui.is_rect_visible(rect) {
        paint_thumbnail(ui, thumbnails, ThumbnailKey::Sample(sample.id), &spec, rect);
        if current || response.hovered() || response.has_focus() {
            let color = if current { ui.visuals().hyperlink_color } else { ui.visuals().strong_text_color() };
            ui.painter().rect_stroke(rect, 4, egui::Stroke::new(2.0, color), StrokeKind::Inside);
        }
    }
    response.on_hover_text(format!("{}\n{}\n{}", sample.title, sample.credit, sample.license));
}

fn highlight(ui: &Ui, rect: Rect, response: &Response, current: bool) {
    if current || response.hovered() || response.has_focus() {
        let fill = ui.style().interact_selectable(response, current).bg_fill;
        ui.painter().rect_filled(rect, RADIUS, fill);
    }
}

fn paint_thumbnail(ui: &Ui, thumbnails: &ThumbnailTextures, key: ThumbnailKey, spec: &ImageSpec, rect: Rect) {
    ui.painter().rect_filled(rect, 4, ui.visuals().widgets.inactive.bg_fill);
    if let Some(texture) = thumbnails.get(key, spec) {
        let uv = square_uv(texture.size_vec2());
        egui::Image::from_texture(&texture).uv(uv).corner_radius(4).paint_at(ui, rect);
    }
}

/// The middle square of a picture, as texture coordinates.
fn square_uv(size: egui::Vec2) -> Rect {
    let square = fitted(Rect::from_min_size(egui::Pos2::ZERO, size), vec2(1.0, 1.0));
    Rect::from_min_max((square.min.to_vec2() / size).to_pos2(), (square.max.to_vec2() / size).to_pos2())
}

fn paint_text(ui: &Ui, at: egui::Pos2, width: f32, text: &str, color: egui::Color32) {
    let font = egui::TextStyle::Body.resolve(ui.style());
    let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width);
    ui.painter().galley(at, ui.painter().layout_job(job), color);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_square_of_a_wide_and_a_tall_picture() {
        let rect = |x0, y0, x1, y1| Rect::from_min_max(egui::pos2(x0, y0), egui::pos2(x1, y1));
        assert_eq!(square_uv(vec2(200.0, 100.0)), rect(0.25, 0.0, 0.75, 1.0));
        assert_eq!(square_uv(vec2(100.0, 400.0)), rect(0.0, 0.375, 1.0, 0.625));
    }
}
