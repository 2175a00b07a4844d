//! Changing the routing of an open model: what comes out is what PyTorch gives (models/zoo/changed.py), what is not changed
//! stays bit by bit, and what cannot be changed says why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

#[path = "zoo/declared.rs"]
mod declared;
#[path = "zoo/changed.rs"]
mod golden;
#[path = "zoo/row.rs"]
mod row;

use declared::{Outputs, declared};
use golden::compare;
use moescope::analysis::{
    Analysis, AnalysisError, ChangeError, LayerSource, OpenModel, RoutingChange, Setting, analyse_with,
};
use moescope::engine::{Engine, EngineOptions, Execution, Provider, Tensor, TensorData};
use moescope::input::{DecodedImage, ImageSource, InputTensor, decode_sample, preprocess};
use moescope::model::default_model_path;
use moescope::routing::{ExpertIdx, LayerRouting, PatchIdx, PixelRect, top_indices};
use row::{Row, rows};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn open(engine: &Engine, path: &Path) -> OpenModel {
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    OpenModel::open(engine, path, &execution).unwrap()
}

fn opened(engine: &Engine, row: &str) -> OpenModel {
    let row = rows().into_iter().find(|other| other.name == row).unwrap();
    open(engine, &row.model_path())
}

/// Without one expert in these layers.
fn banned(layers: impl IntoIterator<Item = usize>, expert: usize) -> RoutingChange {
    let mut change = RoutingChange::default();
    layers.into_iter().for_each(|layer| change.toggle_expert(layer, ExpertIdx(expert as u32)));
    change
}

fn left_out(layer: usize, rank: usize) -> RoutingChange {
    let mut change = RoutingChange::default();
    change.toggle_rank(layer, rank);
    change
}

/// The outputs of a setting for input 0 of a row.
fn outputs(engine: &Engine, model: &OpenModel, row: &Row, setting: &Setting) -> Result<Vec<Tensor>, AnalysisError> {
    let golden = row.golden().inputs(0);
    let image = golden.iter().find(|input| input.name == model.card.input.name).unwrap();
    let TensorData::F32(pixels) = &image.data else { panic!("{image:?}") };
    let seen = PixelRect { x: 0.0, y: 0.0, width: 1.0, height: 1.0 };
    let tensor = InputTensor { shape: image.shape.clone().try_into().unwrap(), data: Arc::from(&**pixels), seen };
    let mut request = model.request(engine, &tensor, setting)?;
    for input in golden {
        request.inputs.retain(|other| other.name != input.name);
        request.inputs.push(input);
    }
    Ok(engine.run(&request)?.outputs)
}

#[test]
fn a_banned_expert_and_another_k_give_what_pytorch_gives() {
    let engine = Engine::start(EngineOptions::default());
    let (mut by_ban, mut by_k) = (BTreeSet::new(), BTreeSet::new());
    for row in rows().iter().filter(|row| row.changed().is_some()) {
        let number = |name: &str| row.changed().unwrap().floats(name).map(|value| *value.first().unwrap() as usize);
        let model = open(&engine, &row.model_path());
        let offers = model.known_offers().unwrap();
        if let Some(expert) = number("expert").filter(|_| offers.iter().all(|offer| offer.ban.is_ok())) {
            let setting = Setting { top_k: None, change: banned(0..model.layers.len(), expert) };
            assert!(compare(row, "banned", &outputs(&engine, &model, row, &setting).unwrap()) > 0, "{}", row.name);
            by_ban.insert(row.name.clone());
        }
        if let Some(k) = number("k").filter(|k| model.card.top_k.as_ref().is_some_and(|range| range.max >= *k)) {
            let found = outputs(&engine, &model, row, &Setting::of_top_k(Some(k))).unwrap();
            assert!(compare(row, "top_k", &found) > 0, "{}", row.name);
            by_k.insert(row.name.clone());
        }
        model.close(&engine);
    }
    assert!(by_ban.len() >= 15, "{by_ban:?}");
    assert!(by_k.len() >= 15 && by_k.contains("contrib-moe") && by_k.contains("contrib-moe-swiglu"), "{by_k:?}");
}

/// Models whose card declares their routing and no k are opened as they are; beside that, their k and choice become
/// changeable where the outputs of the card follow.
#[test]
fn declared_layers_with_another_k_and_without_an_expert_give_what_pytorch_gives() {
    let engine = Engine::start(EngineOptions::default());
    let (mut by_input, mut by_ranks, mut by_ban) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for row in rows().iter().filter(|row| row.changed().is_some()) {
        let number = |name: &str| row.changed().unwrap().floats(name).map(|value| *value.first().unwrap() as usize);
        let Some((_folder, path)) = declared(row, Outputs::Own) else { continue };
        let model = open(&engine, &path);
        assert!(model.layers.iter().all(|layer| layer.source == LayerSource::Declared && layer.router.is_some()));
        assert!(model.misses_top_k() && model.card.top_k.is_none() && model.known_offers().is_none(), "{}", row.name);
        let plain = outputs(&engine, &model, row, &Setting::default()).unwrap();
        let known = model.with_controls(&engine).unwrap();
        assert_eq!(known.handle, model.handle, "the model as it is still runs in its own session");
        let default = known.card.top_k.as_ref().map(|range| range.default);
        assert_eq!(outputs(&engine, &known, row, &Setting::of_top_k(default)).unwrap(), plain, "{}", row.name);
        if let Some(k) = number("k").filter(|k| known.card.top_k.as_ref().is_some_and(|range| range.max >= *k)) {
            let found = outputs(&engine, &known, row, &Setting::of_top_k(Some(k))).unwrap();
            assert!(compare(row, "top_k", &found) > 0, "{}", row.name);
            let ids = found.iter().find(|output| output.name == known.layers[0].card.expert_ids).unwrap();
            let kind = if ids.shape.last() == Some(&k) { &mut by_input } else { &mut by_ranks };
            kind.insert(row.name.clone());
        }
        let offers = known.known_offers().unwrap();
        if let Some(expert) = number("expert").filter(|_| offers.iter().all(|offer| offer.ban.is_ok())) {
            let setting = Setting { top_k: None, change: banned(0..known.layers.len(), expert) };
            assert!(compare(row, "banned", &outputs(&engine, &known, row, &setting).unwrap()) > 0, "{}", row.name);
            by_ban.insert(row.name.clone());
        }
        known.close(&engine);
    }
    assert!(by_input.len() >= 5 && by_input.contains("mixtral"), "{by_input:?}");
    assert!(by_ranks.contains("vmoe"), "{by_ranks:?}");
    assert!(by_ban.len() >= 8, "{by_ban:?}");
}

/// A picture that would not be true at another k is none.
#[test]
fn outputs_that_are_not_a_routers_own_keep_k_as_it_is_and_say_why() {
    let engine = Engine::start(EngineOptions::default());
    for (row, made, words) in [
        ("mixtral", Outputs::Negated, "None of the routers that were found"),
        ("deepseek-v2", Outputs::Bent, "does not follow another k: with k = 6, ranks that were left out have"),
        ("mixtral", Outputs::Beside, "More ranks change nothing"),
        ("contrib-moe", Outputs::Beside, "k lies in ONNX Runtime's MoE operator"),
    ] {
        let row = rows().into_iter().find(|other| other.name == row).unwrap();
        let (_folder, path) = declared(&row, made).unwrap();
        let known = open(&engine, &path).with_controls(&engine).unwrap();
        let reason = known.controls.top_k_obstacle.clone().unwrap();
        assert!(known.card.top_k.is_none() && reason.contains(words), "{}: {reason}", row.name);
        assert!(known.top_k(Some(1)).unwrap_err().to_string().contains(&reason));
        let can_ban = known.known_offers().unwrap().iter().all(|offer| offer.ban.is_ok());
        assert_eq!(can_ban, made == Outputs::Bent, "{}", row.name);
        known.close(&engine);
    }
}

#[test]
fn the_command_line_sets_the_k_of_a_model_whose_card_has_none() {
    let row = rows().into_iter().find(|row| row.name == "mixtral").unwrap();
    let (_folder, path) = declared(&row, Outputs::Own).unwrap();
    let record =
        |more: &[&str]| -> serde_json::Value { serde_json::from_slice(&classify(&path, more).stdout).unwrap() };
    let (plain, four) = (record(&[]), record(&["--top-k", "4"]));
    assert_eq!((&plain["top_k"], &plain["layers"][0]["top_k"]), (&serde_json::Value::Null, &2.into()));
    assert_eq!((&four["top_k"], &four["layers"][1]["top_k"]), (&4.into(), &4.into()));
    assert_ne!(plain["predictions"], four["predictions"]);
    let refused = classify(&path, &["--top-k", "99"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("top-k must be between 1 and"), "{refused:?}");
}

/// `moescope classify --json` of a photo.
fn classify(model: &Path, more: &[&str]) -> std::process::Output {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/samples/cat.jpg");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_moescope"));
    command.arg("classify").arg(&image).arg("--model").arg(model).arg("--json").args(more).output().unwrap()
}

/// The command reads a run as the window does: where a lower k leaves ranks out, those are no choices.
#[test]
fn the_command_line_counts_only_ranks_that_have_a_say() {
    let row = rows().into_iter().find(|row| row.name == "vmoe").unwrap();
    let found = classify(&row.model_path(), &["--top-k", "1"]);
    let record: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    for layer in record["layers"].as_array().unwrap() {
        let experts = layer["experts"].as_array().unwrap();
        assert_eq!((&layer["top_k"], experts[0].as_array().unwrap().len()), (&1.into(), 1));
        let load: u64 = layer["load"].as_array().unwrap().iter().map(|load| load.as_u64().unwrap()).sum();
        assert_eq!(load, experts.len() as u64);
    }
}

fn photo(model: &OpenModel) -> (Arc<DecodedImage>, InputTensor) {
    let image = decode_sample("cat").unwrap();
    let tensor = preprocess(&image, &model.card.input).unwrap();
    (Arc::new(image), tensor)
}

/// The experts that a token takes by itself from its gate probabilities, with their weights: the bundled model's rule.
fn by_hand(layer: &LayerRouting, patch: PatchIdx, banned: ExpertIdx) -> Vec<(ExpertIdx, f32)> {
    let gates = layer.gate_probs_of(patch);
    let order = top_indices(gates, gates.len()).into_iter().filter(|&expert| expert != banned.0 as usize);
    let best: Vec<usize> = order.take(layer.top_k()).collect();
    let sum: f32 = best.iter().map(|&expert| gates[expert]).sum();
    best.into_iter().map(|expert| (ExpertIdx(expert as u32), gates[expert] / sum)).collect()
}

/// Its card names outputs, so that nothing is edited when it is opened.
#[test]
fn the_bundled_model_is_edited_when_a_change_is_asked_for_and_its_own_runs_stay() {
    let engine = Engine::start(EngineOptions::default());
    let model = open(&engine, &default_model_path().unwrap());
    assert_eq!(model.known_offers(), None);
    let (image, tensor) = photo(&model);
    let run = |top_k: usize, change: RoutingChange| -> Analysis {
        analyse_with(&engine, &model, &image, &tensor, &Setting { top_k: Some(top_k), change }).unwrap()
    };
    let itself = run(2, RoutingChange::default());
    let (layer, expert) = (2, itself.trace.layers[2].experts()[0]);
    let changed = run(2, banned([layer], expert.0 as usize));
    assert_eq!(changed.trace.layers[..layer], itself.trace.layers[..layer], "earlier layers cannot know");
    let (now, then) = (&changed.trace.layers[layer], &itself.trace.layers[layer]);
    assert_eq!(now.gate_probs(), then.gate_probs(), "the gate itself is as it was");
    for patch in now.patches() {
        let expected = by_hand(then, patch, expert);
        assert_eq!(now.experts_of(patch), expected.iter().map(|choice| choice.0).collect::<Vec<_>>());
        let apart = now.weights_of(patch).iter().zip(&expected).map(|(found, (_, weight))| (found - weight).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{patch:?}");
    }
    assert_ne!(changed.trace.layers[3], itself.trace.layers[3], "a change in one layer changes every later one");
    assert_eq!(changed.change_in_words(), format!("expert {} banned in layer 3", expert.0));
    assert!(changed.oddities(&model).is_empty());

    let one = run(2, left_out(layer, 1));
    assert!(one.trace.layers[layer].patches().all(|patch| one.trace.layers[layer].weights_of(patch)[1] == 0.0));
    assert_eq!(one.trace.layers[layer].experts(), then.experts(), "they are chosen, and have no say");
    assert!(model.offers(&engine).unwrap().iter().all(|offer| offer.ban.is_ok() && offer.ranks.is_ok()));
    let again = run(2, RoutingChange::default());
    assert_eq!((&again.logits, &again.trace), (&itself.logits, &itself.trace), "bit by bit");
    assert!(again.change_in_words().is_empty());
}

/// Ranks that are left out everywhere are a lower k, where the rule renormalises what is left.
#[test]
fn without_its_last_ranks_a_model_is_the_model_of_a_lower_k() {
    let engine = Engine::start(EngineOptions::default());
    let model = open(&engine, &default_model_path().unwrap());
    let (image, tensor) = photo(&model);
    let mut change = RoutingChange::default();
    for layer in 0..model.layers.len() {
        change.toggle_rank(layer, 1);
        change.toggle_rank(layer, 2);
    }
    let run = |setting: Setting| analyse_with(&engine, &model, &image, &tensor, &setting).unwrap().logits;
    let (ranks, k) = (run(Setting { top_k: Some(3), change }), run(Setting::of_top_k(Some(1))));
    let apart = ranks.iter().zip(&k).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-4, "{apart}");
}

/// A graph that fills all ranks whatever k is: those that have no say are no choices, no load and no drops.
#[test]
fn ranks_that_a_lower_k_leaves_out_are_not_counted() {
    let engine = Engine::start(EngineOptions::default());
    let model = opened(&engine, "vmoe");
    let (image, tensor) = noise(&model);
    let run = |k| analyse_with(&engine, &model, &image, &tensor, &Setting::of_top_k(k)).unwrap();
    let (own, one) = (run(None), run(Some(1)));
    assert!(one.trace.layers.iter().all(|layer| layer.top_k() == 1) && own.trace.layers[0].top_k() == 2);
    let (of_two, first) = (&own.trace.layers[0], &one.trace.layers[0]);
    for patch in of_two.patches() {
        assert_eq!(first.experts_of(patch), &of_two.experts_of(patch)[..1]);
        assert_eq!(first.weights_of(patch), &of_two.weights_of(patch)[..1]);
    }
    let balance = |analysis: &Analysis| analysis.layers[0].balance.clone();
    assert_eq!(balance(&one).load.iter().sum::<u64>() as usize, first.num_tokens());
    assert!(balance(&one).dropped <= balance(&own).dropped, "only choices of the first rank can be dropped");
}

/// An image without any regularity.
fn noise(model: &OpenModel) -> (Arc<DecodedImage>, InputTensor) {
    let rgba = (0..64 * 48 * 4).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let image = Arc::new(DecodedImage { source: ImageSource::Clipboard(0), width: 64, height: 48, rgba });
    let tensor = preprocess(&image, &model.card.input).unwrap();
    (image, tensor)
}

/// ONNX Runtime's MoE operators: another k is another graph, and what the window shows has as many experts.
#[test]
fn operators_have_a_session_for_each_k() {
    let engine = Engine::start(EngineOptions::default());
    for row in ["contrib-moe", "contrib-moe-swiglu", "contrib-qmoe", "contrib-qmoe-4bit"] {
        let model = opened(&engine, row);
        let range = model.card.top_k.clone().unwrap();
        assert!(model.controls.top_k_in_nodes() && range.max > range.default, "{row}: {range:?}");
        let (image, tensor) = noise(&model);
        let run = |k: usize| analyse_with(&engine, &model, &image, &tensor, &Setting::of_top_k(Some(k))).unwrap();
        // More of them than are kept, there and back.
        let all: Vec<Analysis> = (range.min..=range.max).map(run).collect();
        for (k, first) in (range.min..=range.max).zip(&all) {
            let chosen: BTreeSet<usize> = first
                .trace
                .layers
                .iter()
                .flat_map(|layer| layer.patches().map(|patch| layer.experts_of(patch).len()))
                .collect();
            assert_eq!(chosen, [k].into(), "{row}");
            assert_eq!(run(k).logits, first.logits, "{row} at {k}");
        }
        assert!(all.windows(2).all(|pair| pair[0].logits != pair[1].logits), "{row}: each k gives something else");
        let offers = model.known_offers().unwrap();
        let reason = offers[0].ban.clone().unwrap_err();
        assert!(reason.contains("MoE operator"), "{reason}");
        let request = model.request(&engine, &tensor, &Setting::of_top_k(Some(range.max))).unwrap();
        model.close(&engine);
        assert!(engine.run(&request).is_err(), "{row}: its sessions are unloaded");
    }
}

#[test]
fn what_cannot_be_changed_says_why() {
    let engine = Engine::start(EngineOptions::default());
    let refusal = |model: &OpenModel, top_k: Option<usize>, change: RoutingChange| match model
        .checked(&engine, Setting { top_k, change })
    {
        Err(AnalysisError::Change(error)) => error,
        other => panic!("{other:?}"),
    };
    let bundled = open(&engine, &default_model_path().unwrap());
    for (top_k, change, words) in [
        (2, banned([9], 0), "there is no layer 10: this model has the layers 1 to 4"),
        (2, banned([1], 8), "there is no expert 8"),
        (8, banned([1], 3), "7 experts"),
        (2, left_out(1, 2), "there is no rank 3"),
        (1, left_out(1, 0), "keep one"),
    ] {
        let error = refusal(&bundled, Some(top_k), change);
        assert!(error.is_usage() && error.to_string().contains(words), "{error}");
    }
    for (row, change, words) in [
        ("soft-moe", banned([0], 1), "no choice to change"),
        ("vmoe-expert-choice", banned([0], 1), "no expert can be left out"),
        ("contrib-qmoe", banned([0], 1), "MoE operator"),
        ("frozen-hit-experts", banned([0], 1), "."),
        ("switch", left_out(0, 0), "by its very operator"),
    ] {
        let error = refusal(&opened(&engine, row), None, change);
        assert!(matches!(error, ChangeError::Refused { .. } | ChangeError::Model { .. }) && !error.is_usage(), "{row}");
        assert!(error.to_string().contains(words), "{row}: {error}");
    }
}
