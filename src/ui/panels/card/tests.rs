//! The sheet with models of the repository and the cards that are guessed for them; nothing is run.

use super::*;
use crate::model::geometry::Normalization;
use crate::model::routers::routers_of;
use crate::model::{BoxFormat, BoxUnits, DetectionCard, ScoreActivation};
use crate::model::{
    Channels, CropRule, ModelCard, ModelDescription, ResizeRule, TopKCard, TopKInput, decode_model, map_file,
};
use crate::ui::panels::testing::Alone;
use crate::ui::settings::Settings;
use crate::ui::state::{AppState, tests::open_model};
use egui_kittest::kittest::{NodeT, Queryable};

const CLASSIFIER: &str = "tests/fixtures/models/tiny_classifier.onnx";

/// A model of the repository with the card that is guessed for it, as it is when it is open, but for its session.
fn open(file: &str) -> OpenModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let bytes = map_file(&path).unwrap();
    let model = decode_model(&path, &bytes).unwrap();
    let description = ModelDescription::of(&path, bytes.len() as u64, &model);
    let routers = routers_of(&model);
    let (card, card_source, reasons) = description.card_or_guess(&model, &routers).unwrap();
    OpenModel { path, card, card_source, reasons, description, routers: Arc::new(routers), ..open_model(file) }
}

fn sheet_with(model: OpenModel, labels: Option<&[&str]>) -> Alone {
    let model = Arc::new(model);
    let mut local = CardUi::default();
    local.draft_of(&model);
    if let Some(labels) = labels {
        local.take_labels(Path::new("another.onnx"), LabelsOf::Classes, vec!["of another model".into()]);
        local.take_labels(&model.path, LabelsOf::Classes, labels.iter().map(|&label| label.to_owned()).collect());
    }
    let mut state = AppState::new(Settings::default(), None);
    state.model.open = Some(model);
    state.sheet = Some(Sheet::Card);
    Alone::new(state, local, |ui, ctx, local| card_ui(ui, ctx, local))
}

fn sheet(model: OpenModel) -> Alone {
    sheet_with(model, None)
}

fn choose(sheet: &mut Alone, menu: &str, value: &str) {
    sheet.click(menu);
    sheet.click(value);
}

/// The card that a click on the button sends.
fn saved(sheet: &mut Alone) -> ModelCard {
    sheet.click("Save card");
    match sheet.sent().last() {
        Some(Command::SaveCard(_, card)) => (**card).clone(),
        other => panic!("{other:?}"),
    }
}

fn chips(sheet: &Alone, text: &str) -> usize {
    sheet.harness.query_all_by_label(text).count()
}

#[test]
fn every_field_of_a_guess_says_what_it_rests_on() {
    let model = open(CLASSIFIER);
    assert_eq!(model.card_source, CardSource::Assumed);
    let reasons = model.reasons.clone();
    let sheet = sheet(model);
    for field in ["input.mean", "input.resize"] {
        let why = &reasons.iter().find(|reason| reason.field == field).unwrap().text;
        sheet.harness.get_by_label(why);
    }
    assert!(chips(&sheet, "assumed") >= 4 && chips(&sheet, "changed") == 0);
    assert!(sheet.has("This model came without a card") && sheet.has("as tiny_classifier.card.json, beside the model"));
}

#[test]
fn what_was_chosen_is_what_is_saved() {
    let model = open(CLASSIFIER);
    let guess = model.card.clone();
    let mut sheet = sheet(model);
    choose(&mut sheet, "Normalisation: ImageNet", "CLIP");
    choose(&mut sheet, "Resize: The middle", "Letterbox");
    choose(&mut sheet, "Channels: RGB", "BGR");
    assert_eq!(chips(&sheet, "changed"), 3);
    let card = saved(&mut sheet);
    assert_eq!((card.input.mean, card.input.std), (Normalization::CLIP.mean, Normalization::CLIP.std));
    assert_eq!((card.input.resize.rule, card.input.crop), (ResizeRule::LongerSide, CropRule::None));
    assert_eq!(card.input.channels, Channels::Bgr);
    assert!(!card.description.contains("No model card"), "{}", card.description);
    assert_eq!((&card.grid, &card.logits, &card.layers), (&guess.grid, &guess.logits, &guess.layers));

    sheet.click("Reset");
    assert_eq!((chips(&sheet, "changed"), saved(&mut sheet).input), (0, guess.input));
}

#[test]
fn a_k_that_only_the_edited_model_has_is_not_saved() {
    let mut model = open(CLASSIFIER);
    model.card.top_k = Some(TopKCard { input: TopKInput::Edited, min: 1, max: 4, default: 2 });
    assert_eq!(saved(&mut sheet(model)).top_k, None);
    let with_input = open("tests/fixtures/models/tiny_moe.onnx");
    assert!(with_input.card.top_k.is_some());
    assert_eq!(saved(&mut sheet(with_input)).top_k, open("tests/fixtures/models/tiny_moe.onnx").card.top_k);
}

#[test]
fn a_card_that_does_not_fit_is_told_and_not_saved() {
    let mut sheet = sheet_with(open(CLASSIFIER), Some(&["ant", "bee"]));
    assert!(sheet.has("Cannot be saved: labels has 2 names") && sheet.has("Class names: 2 names"));
    assert!(sheet.harness.get_by_label("Save card").accesskit_node().is_disabled());
    choose(&mut sheet, "Class names: 2 names", "Numbers");
    assert_eq!(saved(&mut sheet).labels, Vec::<String>::new());
}

#[test]
fn a_layer_with_a_grid_of_its_own_is_listed() {
    let mut model = open("tests/fixtures/models/tiny_moe.onnx");
    model.card.layers[1].grid = Some(crate::model::GridCard::patches(3, 5));
    let sheet = sheet(model);
    assert!(sheet.has("3 × 5") && sheet.has("Layer 2") && !sheet.has("Layer 1"));
    assert_eq!(chips(&sheet, "assumed"), 0, "the model has a card");
}

#[test]
fn how_boxes_are_read_is_shown_and_changed() {
    let model = open("models/zoo/rows/yolo-moe/model.onnx");
    let guess = model.card.detection.clone().unwrap();
    assert_eq!((guess.format, guess.units), (BoxFormat::Xyxy, BoxUnits::Pixels));
    let mut sheet = sheet(model);
    sheet.harness.get_by_label("Box names: Numbers").scroll_to_me();
    sheet.harness.run_steps(5);
    choose(&mut sheet, "Box format: Corners", "Centre and size");
    choose(&mut sheet, "Box units: Pixels", "Fractions");
    choose(&mut sheet, "Box names: Numbers", "COCO, 80 classes");
    assert!(sheet.has("person, bicycle, car"));
    let boxes = saved(&mut sheet).detection.unwrap();
    let expected = DetectionCard {
        format: BoxFormat::Cxcywh,
        units: BoxUnits::Normalized,
        labels: crate::model::coco_labels().to_vec(),
        ..guess.clone()
    };
    assert_eq!(boxes, expected);
    sheet.click("Reset");
    assert_eq!(saved(&mut sheet).detection, Some(guess));
}

#[test]
fn scores_of_a_detector_that_has_not_chosen_can_be_read_in_another_way() {
    let model = open("models/zoo/rows/detr-moe/model.onnx");
    assert_eq!(model.card.detection.as_ref().unwrap().activation, ScoreActivation::Softmax);
    let mut sheet = sheet(model);
    sheet.harness.get_by_label("Box names: Numbers").scroll_to_me();
    sheet.harness.run_steps(5);
    choose(&mut sheet, "Box scores: Softmax", "Sigmoid");
    assert_eq!(saved(&mut sheet).detection.unwrap().activation, ScoreActivation::Sigmoid);
}
