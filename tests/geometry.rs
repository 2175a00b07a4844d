//! Guesses the geometry of every model of the zoo from its graph alone, and compares it with what the row says is true.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "zoo/row.rs"]
mod row;

use moescope::analysis::{OpenModel, TokenPlace, analyse};
use moescope::engine::{Engine, EngineOptions, Execution, Provider};
use moescope::input::{SAMPLES, decode_sample, preprocess};
use moescope::model::geometry::{Basis, Geometry, guess};
use moescope::model::graph::ModelGraph;
use moescope::model::routers::find_routers;
use moescope::model::{DetectionStyle, GridCard, ModelDescription, TokenLayout, TokenOrder, decode_model, map_file};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an image's tokens stand in a text is told by the text, which is an input: the guess has to say that it assumes.
const TOLD_BY_ANOTHER_INPUT: [&str; 2] = ["vision-language", "vision-language-dynamo"];

fn rows() -> Vec<(String, PathBuf, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/zoo/rows");
    let mut rows: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|folder| {
            let truth = serde_json::from_slice(&fs::read(folder.join("row.json")).unwrap()).unwrap();
            (folder.file_name().unwrap().to_string_lossy().into_owned(), folder.join("model.onnx"), truth)
        })
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn guessed(path: &Path) -> (ModelDescription, Geometry) {
    let file = map_file(path).unwrap();
    let model = decode_model(path, &file).unwrap();
    let description = ModelDescription::of(path, file.len() as u64, &model);
    let report = find_routers(&ModelGraph::new(&model).unwrap());
    let geometry = guess(&description, &model, &report).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (description, geometry)
}

/// A grid as row.json tells it; a walk of its own is compared token by token, below.
fn told(grid: &GridCard) -> Value {
    let mut told = json!({"rows": grid.rows, "cols": grid.cols, "prefix_tokens": grid.prefix_tokens});
    if grid.suffix_tokens > 0 {
        told["suffix_tokens"] = grid.suffix_tokens.into();
    }
    if grid.padding_tokens() > 0 {
        told["padding_tokens"] = grid.padding_tokens().into();
    }
    if let TokenOrder::Windows { rows, cols, shift_rows, shift_cols } = grid.order {
        told["window"] = json!([rows, cols]);
        told["shift"] = json!([shift_rows, shift_cols]);
    }
    told
}

/// The truth about the tokens of a router: its own grid, else the row's.
fn truth(row: &Value, router: &Value) -> Value {
    if router["per_image"] == true {
        return json!("image");
    }
    let grid = if router["grid"].is_object() { &router["grid"] } else { &row["grid"] };
    if grid["queries"].is_number() {
        return json!("unplaced");
    }
    let mut grid = grid.clone();
    if let Some(window) = grid["window"].as_u64() {
        // A window as large as the grid, unshifted, is no window.
        let shift = grid["shift"].as_u64().unwrap();
        grid["window"] = json!([window, window]);
        grid["shift"] = json!([shift, shift]);
    }
    for others in ["suffix_tokens", "padding_tokens"] {
        if grid[others] == 0 {
            grid.as_object_mut().unwrap().remove(others);
        }
    }
    grid
}

/// Row and column of each token of one image as a card tells them, none for a token that has no place.
fn places_of_tokens(grid: &GridCard) -> Vec<Option<(usize, usize)>> {
    let mut places = vec![None; grid.num_tokens()];
    for (patch, token) in grid.tokens_of_patches().into_iter().enumerate() {
        places[token] = Some((patch / grid.cols, patch % grid.cols));
    }
    places
}

/// Where PyTorch took each token from: its coordinates went the way of its features.
#[test]
fn every_token_lies_where_pytorch_took_it_from() {
    let mut compared = Vec::new();
    for row in row::rows() {
        let mut golden = row.golden();
        let truths: Vec<_> = (0..row.routers().len())
            .filter_map(|router| Some((router, golden.floats(&format!("router.0.{router}.places"))?)))
            .collect();
        if truths.is_empty() {
            continue;
        }
        let card = guessed(&row.model_path()).1.card;
        for (router, truth) in truths {
            let name = format!("{}, layer {router}", row.name);
            let layer = &card.layers[router];
            assert_eq!(layer.tokens, TokenLayout::Patches, "{name}");
            let grid = card.grid_of(layer);
            let truth: Vec<_> =
                truth.rows().into_iter().map(|at| (at[0] >= 0.0).then_some((at[0] as usize, at[1] as usize))).collect();
            assert_eq!(places_of_tokens(grid), truth, "{name}");
            let padding = truth.iter().filter(|place| place.is_none()).count();
            assert_eq!(grid.padding_tokens(), padding, "{name}");
            compared.push((truth.len(), padding));
        }
    }
    let padded = [(144, 44), (144, 44), (100, 0)];
    assert_eq!(compared, [[(144, 0); 4].as_slice(), &padded, &padded].concat());
}

#[test]
fn the_geometry_of_every_row_is_found() {
    let rows = rows();
    assert!(rows.len() >= 80, "{}", rows.len());
    let mut faults = Vec::new();
    for (name, path, row) in &rows {
        let (description, geometry) = guessed(path);
        let card = &geometry.card;
        let mut demand = |what: &str, found: Value, truth: &Value, field: &str| {
            let is_assumed = geometry.is_assumed(field);
            if TOLD_BY_ANOTHER_INPUT.contains(&name.as_str()) && what.ends_with("tokens") {
                if !is_assumed {
                    faults.push(format!("{name}: {what} is not marked as assumed"));
                }
            } else if found != *truth {
                faults.push(format!("{name}: {what} is {found}, not {truth} (assumed: {is_assumed})"));
            } else if is_assumed {
                faults.push(format!("{name}: {what} is right, but assumed"));
            }
        };
        if let Err(reason) = card.check(&description) {
            demand("the card", json!(reason), &json!("sound"), "");
        }
        let image = &row["image_input"];
        demand("the input", json!(card.input.name), &image["name"], "input.name");
        demand("the layout", json!(card.input.layout), &image["layout"], "input.layout");
        demand("the height", json!(card.input.height), &image["height"], "input.height");
        demand("the width", json!(card.input.width), &image["width"], "input.width");
        demand("the batch", json!(card.input.batch), &image["images"], "input.batch");
        let routers = row["routers"].as_array().unwrap();
        if routers.is_empty() {
            demand("the grid", told(&card.grid), &row["grid"], "grid");
        }
        demand("the number of layers", json!(card.layers.len()), &json!(routers.len()), "");
        for (index, (layer, router)) in card.layers.iter().zip(routers).enumerate() {
            let found = match layer.tokens {
                TokenLayout::Image => json!("image"),
                TokenLayout::Unplaced => json!("unplaced"),
                TokenLayout::Patches => told(card.grid_of(layer)),
            };
            let field = if layer.grid.is_some() { "grid" } else { "tokens" };
            let field = format!("layers[{index}].{field}");
            demand(&format!("{}: tokens", layer.name), found, &truth(row, router), &field);
            demand(&format!("{}: task", layer.name), json!(layer.task), &router["task"], "");
            demand(&format!("{}: iteration", layer.name), json!(layer.iteration), &router["iteration"], "");
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Class scores and boxes: what the rows' graphs give, by name.
#[test]
fn outputs_are_told_apart() {
    let mut faults = Vec::new();
    for (name, path, row) in rows() {
        let card = guessed(&path).1.card;
        let kind = name.strip_suffix("-dynamo").unwrap_or(&name);
        let (logits, style) = match kind {
            "detr-moe" => ("", Some(DetectionStyle::Detr)),
            "yolo-moe" => ("", Some(DetectionStyle::Chosen)),
            "adamv-moe" => ("logits", Some(DetectionStyle::Lists)),
            "limoe" => ("logits_per_image", None),
            _ => ("logits", None),
        };
        let found = card.detection.as_ref().map(|detection| detection.style);
        if (card.logits.as_str(), found) != (logits, style) {
            faults.push(format!("{name}: {:?} {found:?} of {}", card.logits, row["outputs"]));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What no graph tells is always marked.
#[test]
fn what_is_assumed_is_said() {
    for (name, path, _) in rows() {
        let (_, geometry) = guessed(&path);
        for field in ["input.mean", "input.std", "input.resize"] {
            let reason = geometry.reasons.iter().find(|reason| reason.field == field).unwrap();
            assert_eq!(reason.basis, Basis::Assumed, "{name}: {}", reason.text);
        }
    }
}

/// What each layer of a row shows on an image: rows and columns of patches, or what its tokens are instead.
fn shown(engine: &Engine, row: &str) -> Result<Vec<String>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/zoo/rows/{row}/model.onnx"));
    let execution = Execution { threads: Some(1), ..Execution::on(Provider::Cpu) };
    let model = OpenModel::open(engine, &path, &execution).map_err(|error| error.to_string())?;
    let image = Arc::new(decode_sample(SAMPLES[0].id).map_err(|error| error.to_string())?);
    let tensor = preprocess(&image, &model.card.input).map_err(|error| error.to_string())?;
    let analysis = analyse(engine, &model, &image, &tensor, None).map_err(|error| error.to_string())?;
    if let Some(unreadable) = analysis.unreadable.first() {
        return Err(unreadable.clone());
    }
    let layers = analysis.places.iter().zip(&analysis.trace.layers).map(|(place, routing)| match place.tokens {
        TokenPlace::Patches(grid) if grid.num_patches() == routing.num_tokens() => {
            format!("{} × {}", grid.rows, grid.cols)
        }
        TokenPlace::Patches(grid) => format!("{} tokens on {} patches", routing.num_tokens(), grid.num_patches()),
        TokenPlace::Image => "image".to_owned(),
        TokenPlace::Unplaced => format!("{} tokens", routing.num_tokens()),
    });
    let layers = layers.collect();
    engine.unload(model.handle).map_err(|error| error.to_string())?;
    Ok(layers)
}

/// From a file without a card to patches on an image: several inputs, a batch that is fixed, no class scores, and tokens
/// of all kinds.
#[test]
fn every_kind_of_row_is_fed_an_image_and_shown_on_it() {
    let engine = Engine::start(EngineOptions::default());
    for (row, expected) in [
        ("adaptive-mixtures", &["image"] as &[&str]),
        ("detr-moe", &["8 × 8", "10 tokens", "10 tokens"]),
        ("limoe", &["4 × 4", "4 × 4"]),
        ("maxvit-moe", &["12 × 12", "12 × 12"]),
        ("mod-squad-dynamo", &["4 × 4"; 8]),
        ("swin-moe", &["8 × 8", "4 × 4"]),
        ("swin-moe-padded", &["10 × 10", "10 × 10", "10 × 10"]),
        ("variant-channels-last", &["4 × 4", "4 × 4"]),
        ("vision-language", &["4 × 4", "4 × 4"]),
        ("vmoe", &["4 × 4", "4 × 4"]),
        ("vmoe-groups", &["4 × 4", "4 × 4"]),
        ("windowed-moe", &["8 × 8", "8 × 8"]),
        ("yolo-moe", &["8 × 8", "image"]),
    ] {
        let found = shown(&engine, row).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(found, expected, "{row}");
    }
}
