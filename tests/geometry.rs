//! Guesses the geometry of every model of the zoo from its graph alone, and compares it with what the row says is true.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::model::geometry::{Basis, Geometry, guess};
use moescope::model::graph::ModelGraph;
use moescope::model::routers::find_routers;
use moescope::model::{GridCard, ModelDescription, TokenLayout, TokenOrder, decode_model, map_file};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

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

/// A grid as row.json tells it.
fn told(grid: &GridCard) -> Value {
    let mut told = json!({"rows": grid.rows, "cols": grid.cols, "prefix_tokens": grid.prefix_tokens});
    if grid.suffix_tokens > 0 {
        told["suffix_tokens"] = grid.suffix_tokens.into();
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
    if grid["suffix_tokens"] == 0 {
        grid.as_object_mut().unwrap().remove("suffix_tokens");
    }
    grid
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
                TokenLayout::Patches => told(&card.grid_of(layer)),
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
