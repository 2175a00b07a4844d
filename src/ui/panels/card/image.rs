//! How an image becomes the model's input: size, normalisation, resize and crop, order of the colours.

use super::draft::{Draft, Origin, origin};
use super::rows::{below_ui, menu_ui, name_menu, row_ui};
use crate::model::geometry::Normalization;
use crate::model::{Channels, CropRule, InputCard, Layout, ModelDescription, ResizeFilter, ResizeRule};
use egui::{ComboBox, DragValue, Grid, Ui};

const RULES: [(ResizeRule, &str, &str); 3] = [
    (ResizeRule::ShorterSide, "The middle", "The shorter side is brought to a size, and the middle is cut out"),
    (ResizeRule::Stretch, "Stretched", "The whole image, stretched to the input's size"),
    (ResizeRule::LongerSide, "Letterbox", "The whole image, in the middle of grey bars"),
];
const FILTERS: [(ResizeFilter, &str, &str); 3] = [
    (ResizeFilter::Bilinear, "Bilinear", "Triangle filter, as Pillow has it"),
    (ResizeFilter::Bicubic, "Bicubic", "Pillow's bicubic filter"),
    (ResizeFilter::Lanczos, "Lanczos", "Lanczos with three lobes"),
];
const CHANNELS: [(Channels, &str, &str); 2] = [
    (Channels::Rgb, "RGB", "Red first, as nearly every model takes it"),
    (Channels::Bgr, "BGR", "Blue first, as OpenCV and Caffe have it"),
];

/// The rows about the image input.
pub(super) fn image_ui(ui: &mut Ui, draft: &mut Draft) {
    let Draft { model, card } = draft;
    let (guess, input) = (&model.card.input, &mut card.input);
    let from = |field, changed, otherwise| origin(model, field, changed, otherwise);

    let changed = (input.height, input.width) != (guess.height, guess.width);
    size_ui(ui, &model.description, input, from("input.height", changed, ""));

    let changed = (input.mean, input.std) != (guess.mean, guess.std);
    normalization_ui(ui, input, from("input.mean", changed, ""));

    let changed =
        (input.resize.rule, input.resize.size, input.crop) != (guess.resize.rule, guess.resize.size, guess.crop);
    resize_ui(ui, input, from("input.resize", changed, ""));

    let filter =
        from("input.resize.filter", input.resize.filter != guess.resize.filter, "Assumed: bilinear, as most have it.");
    row_ui(ui, "Filter", "How pixels are mixed when the image is scaled", filter, |ui, _| {
        menu_ui(ui, "Filter", &mut input.resize.filter, &FILTERS);
    });

    let channels = from("input.channels", input.channels != guess.channels, "Assumed: red first, as most have it.");
    row_ui(ui, "Channels", "Order of the colours", channels, |ui, _| {
        menu_ui(ui, "Channels", &mut input.channels, &CHANNELS);
    });
}

/// The size, to be changed where the graph leaves it open.
fn size_ui(ui: &mut Ui, model: &ModelDescription, input: &mut InputCard, origin: Origin<'_>) {
    let dims = model.inputs.iter().find(|value| value.name == input.name).and_then(|value| value.dims.as_ref());
    let axes = match input.layout {
        Layout::Nchw => [2, 3],
        Layout::Nhwc => [1, 2],
    };
    let is_fixed = |axis: usize| dims.and_then(|dims| dims.get(axis)?.size()).is_some();
    let help = format!("Height and width in pixels of the input {}", input.name);
    row_ui(ui, "Size", &help, origin, |ui, name| {
        let sides = [&mut input.height, &mut input.width];
        for (at, (side, axis)) in sides.into_iter().zip(axes).enumerate() {
            if at > 0 {
                ui.label("×");
            }
            let box_ = DragValue::new(side).range(1..=16_384);
            ui.add_enabled(!is_fixed(axis), box_).labelled_by(name);
        }
        ui.label("pixels");
    });
}

fn normalization_ui(ui: &mut Ui, input: &mut InputCard, origin: Origin<'_>) {
    let help = "What each colour has subtracted, and is divided by, in fractions of 255";
    row_ui(ui, "Normalisation", help, origin, |ui, _| {
        let is_chosen = |known: &&Normalization| known.mean == input.mean && known.std == input.std;
        let chosen = Normalization::ALL.iter().find(is_chosen).map_or("Custom", |known| known.name);
        let menu = ComboBox::from_id_salt("normalisation").selected_text(chosen).show_ui(ui, |ui| {
            for known in &Normalization::ALL {
                if ui.selectable_label(known.name == chosen, known.name).clicked() {
                    (input.mean, input.std) = (known.mean, known.std);
                }
            }
        });
        name_menu(&menu.response, "Normalisation", chosen);
    });
    below_ui(ui, |ui| {
        Grid::new("normalisation numbers").num_columns(4).show(ui, |ui| {
            for (name, values, least) in [("Mean", &mut input.mean, f32::MIN), ("Deviation", &mut input.std, 1e-6)] {
                let label = ui.weak(name);
                for (value, color) in values.iter_mut().zip(["red", "green", "blue"]) {
                    let number = DragValue::new(value).speed(0.001).range(least..=f32::MAX).max_decimals(4);
                    ui.add(number).labelled_by(label.id).on_hover_text(format!("{name} of {color}"));
                }
                ui.end_row();
            }
        });
    });
}

/// The rule and what goes with it; the crop follows from it.
fn resize_ui(ui: &mut Ui, input: &mut InputCard, origin: Origin<'_>) {
    let help = "Which part of the image the model sees, and how it is brought to the input's size";
    row_ui(ui, "Resize, crop", help, origin, |ui, name| {
        let before = input.resize.rule;
        menu_ui(ui, "Resize", &mut input.resize.rule, &RULES);
        let needed = input.height.max(input.width);
        if input.resize.rule != before {
            let is_cut = input.resize.rule == ResizeRule::ShorterSide;
            input.crop = if is_cut { CropRule::Center } else { CropRule::None };
            input.resize.size = input.resize.size.max(needed);
        }
        match input.resize.rule {
            ResizeRule::ShorterSide => {
                ui.label("of");
                let size = DragValue::new(&mut input.resize.size).range(needed..=16_384);
                ui.add(size).labelled_by(name).on_hover_text("Pixels of the shorter side before the middle is cut out");
                ui.label("pixels");
            }
            ResizeRule::LongerSide => {
                let pad = DragValue::new(&mut input.pad).prefix("grey ");
                ui.add(pad).labelled_by(name).on_hover_text("The byte that fills the bars; YOLO has 114");
            }
            ResizeRule::Stretch => {}
        }
    });
}
