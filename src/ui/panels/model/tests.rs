//! The sheet with real models of the zoo, as the finder sees them; nothing is run.

use super::*;
use crate::analysis::{LayerSource, ShownLayer};
use crate::engine::{Placement, Provider};
use crate::model::routers::{Router, routers_of};
use crate::model::{LayerCard, ModelDescription, decode_model, map_file};
use crate::ui::panels::testing::Alone;
use crate::ui::settings::Settings;
use crate::ui::state::{AppState, tests::open_model};
use egui_kittest::kittest::{NodeT, Queryable};
use std::path::Path;

/// A model of the repository as it is when it is open, but for its session.
pub(super) fn open(file: &str) -> OpenModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let bytes = map_file(&path).unwrap();
    let model = decode_model(&path, &bytes).unwrap();
    let description = ModelDescription::of(&path, bytes.len() as u64, &model);
    let (card, card_source) =
        description.card().unwrap_or_else(|_| (open_model(file).card, open_model(file).card_source));
    let gpu = |op: &str| ("WebGpuExecutionProvider".to_owned(), op.to_owned());
    let cpu = |op: &str| ("CPUExecutionProvider".to_owned(), op.to_owned());
    let shown = |(at, layer): (usize, &LayerCard)| {
        let (card, source) = (layer.clone(), LayerSource::Declared);
        ShownLayer { card, source, router: Some(at) }
    };
    OpenModel {
        path,
        layers: card.layers.iter().enumerate().map(shown).collect(),
        card,
        card_source,
        description,
        routers: Arc::new(routers_of(&model)),
        provider: Provider::WebGpu,
        placement: Placement::of([gpu("MatMul"), gpu("MatMul"), gpu("Add"), cpu("NonZero")], 4),
        ..open_model(file)
    }
}

const DEFAULT: &str = crate::model::DEFAULT_MODEL;

pub(super) fn zoo(row: &str) -> String {
    format!("models/zoo/rows/{row}/model.onnx")
}

/// The sheet over a model.
fn sheet(model: OpenModel) -> Alone {
    let mut state = AppState::new(Settings::default(), None);
    state.model.open = Some(Arc::new(model));
    state.sheet = Some(Sheet::Model);
    Alone::new(state, ModelUi::default(), |ui, ctx, local| model_ui(ui, ctx, local))
}

fn model_of(sheet: &Alone) -> &OpenModel {
    sheet.harness.state().0.model.open.as_ref().unwrap()
}

#[test]
fn the_overview_counts_the_parameters_at_the_wanted_k() {
    let mut sheet = sheet(open(DEFAULT));
    let counted = model_of(&sheet).card.parameters.clone().unwrap();
    for k in [2, 1, 8] {
        sheet.state().apply(Command::SetTopK(k));
        sheet.harness.run_steps(2);
        // The card has PyTorch's counts; two constants of the graph come on top.
        let (total, activated) = (counted.total + 2, counted.activated[&k] + 2);
        let share = 100.0 * activated as f64 / total as f64;
        let text = format!("{} · {share:.0} %", crate::ui::widgets::count(activated));
        sheet.harness.get_by_label(&format!("Activated for a token at k = {k}: {text}"));
        sheet.harness.get_by_label(&format!("Executed by this graph at k = {k}: {text}"));
    }
    assert!(sheet.has("in the file's metadata") && sheet.has("float32 [batch, 3, 224, 224]"));
    assert!(sheet.has("3 of 4 nodes on WebGPU; on CPU: NonZero ×1; 4 copies between them"));
}

#[test]
fn a_router_tells_its_rule_its_evidence_and_its_tensors() {
    let mut sheet = sheet(open(DEFAULT));
    let router = model_of(&sheet).routers.routers[2].clone();
    sheet.click(&format!("Router 3: {}", router.name));
    for sentence in &router.evidence {
        sheet.harness.get_by_label(sentence);
    }
    assert!(sheet.has("top-k, then softmax: the k experts") && sheet.has("2 of 8; k is the model's input top_k"));
    assert!(sheet.has("as the model gave it") && sheet.has("int64 [?, 2]") && sheet.has("all 8 found: a branch each"));
    sheet.click("Show in the picture");
    let sent = sheet.sent();
    assert!(matches!(sent[0], Command::SelectLayer(layer) if layer.0 == 2), "{sent:?}");
    assert_eq!(sheet.state().sheet, None);
}

#[test]
fn the_pages_are_stepped_through_by_the_keyboard() {
    let mut sheet = sheet(open(DEFAULT));
    for (key, expected) in [
        (Key::ArrowDown, "1.0 copies for each of 4 MoE layers"),
        (Key::ArrowDown, "Operators: "),
        (Key::ArrowDown, "Copy moescope.card"),
        (Key::ArrowDown, "Near misses"),
        (Key::ArrowDown, "Looking at the tensors"),
        (Key::ArrowDown, "router 1 of"),
        (Key::ArrowDown, "router 2 of"),
        (Key::ArrowUp, "router 1 of"),
    ] {
        sheet.harness.key_press(key);
        sheet.harness.run_steps(3);
        let layers = model_of(&sheet).routers.routers.len();
        let expected = expected
            .replace("1.0 copies for each of 4", &format!("{:.1} copies for each of {layers}", 4.0 / layers as f64));
        assert!(sheet.has(&expected), "{expected}");
    }
    for _ in 0..20 {
        sheet.harness.key_press(Key::ArrowDown);
        sheet.harness.run_steps(1);
    }
    sheet.harness.run_steps(3);
    let layers = model_of(&sheet).routers.routers.len();
    assert!(sheet.has(&format!("router {layers} of {layers}")), "the last one stays");
    sheet.harness.key_press(Key::Escape);
    sheet.harness.run_steps(2);
    assert_eq!(sheet.state().sheet, None);
}

#[test]
fn a_dense_model_says_what_was_looked_for() {
    let sheet = sheet(open(&zoo("dense-sovit")));
    let at = model_of(&sheet).routers.looked_at;
    assert!(at.softmax > 0);
    let text = format!("looked at {} TopK, {} ArgMax, {} Softmax", at.top_k, at.arg_max, at.softmax);
    assert!(sheet.has(&text), "{text}");
    assert!(sheet.has("Every parameter works on every image: there are no routers"));
}

#[test]
fn experts_that_no_gate_chooses_are_told() {
    for (row, texts) in [
        (
            "hash-layer",
            ["a table in which the input visual_tokens is looked up: there is no gate (2 layers)", "expert 3 takes"],
        ),
        ("multiway", ["the position of a token: there is no gate (2 layers)", "expert 1 takes tokens 16 to 23"]),
    ] {
        let sheet = sheet(open(&zoo(row)));
        for text in texts {
            assert!(sheet.has(text), "{row}: {text}");
        }
    }
}

#[test]
fn what_a_person_should_know_first_stands_on_top() {
    for (row, warning) in [
        ("frozen-split-sizes", "The experts were fixed while the model was exported"),
        ("frozen-hit-experts", "the export lost the others"),
        ("deepseek-v2", "This graph runs all experts on all tokens"),
    ] {
        let sheet = sheet(open(&zoo(row)));
        assert!(sheet.has(warning), "{row}");
    }
    let sheet = sheet(open(&zoo("vmoe")));
    assert!(sheet.has("This graph runs all experts, whatever is chosen: "), "executed instead of activated");
}

#[test]
fn a_million_experts_and_a_hundred_layers_are_only_laid_out_in_view() {
    let mut model = open(DEFAULT);
    let mut report = (*model.routers).clone();
    let router = report.routers[0].clone();
    report.routers = (0..100).map(|layer| Router { layer, name: format!("block {layer}"), ..router.clone() }).collect();
    report.routers[0].num_experts = 1 << 20;
    report.routers[0].experts.weights = vec![vec!["table".to_owned()]; 1 << 20];
    model.routers = Arc::new(report);
    let mut sheet = sheet(model);
    sheet.click("Router 1: block 0");
    assert!(sheet.has("2 of 1048576"));
    sheet.click("Weights of 1048576 experts");
    sheet.harness.run_steps(5);
    let nodes = sheet.harness.root().children_recursive().count();
    assert!((50..400).contains(&nodes), "{nodes} widgets");
    assert!(sheet.harness.query_by_label("Router 100: block 99").is_none());
    for _ in 0..120 {
        sheet.harness.key_press(Key::ArrowDown);
        sheet.harness.run_steps(1);
    }
    sheet.harness.run_steps(3);
    sheet.harness.get_by_label("Router 100: block 99");
}
