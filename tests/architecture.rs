//! Keeps the layers apart: which part of `src` may name which crate and which other part. Without this, the first
//! convenient shortcut (the window in the analysis, wgpu in a panel) would make the headless build and the tests of the
//! pure core impossible, and nobody would notice until much later.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "architecture/tokens.rs"]
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};
use tokens::{Token, crate_modules, tokens};

/// A crate that only some places may name.
struct CrateRule {
    names: &'static [&'static str],
    /// Files, or folders when they end in `/`.
    only_in: &'static [&'static str],
}

const CRATE_RULES: &[CrateRule] = &[
    CrateRule { names: &["ort"], only_in: &["src/engine/"] },
    CrateRule { names: &["wgpu"], only_in: &["src/render/", "src/ui/gpu.rs"] },
    CrateRule { names: &["egui", "eframe", "egui_plot", "rfd"], only_in: &["src/ui/"] },
    CrateRule { names: &["egui_wgpu"], only_in: &["src/ui/gpu.rs"] },
];

/// A part of `src` and the modules of this crate that it may not name.
struct ModuleRule {
    part: &'static str,
    forbidden: &'static [&'static str],
}

const MODULE_RULES: &[ModuleRule] = &[
    ModuleRule { part: "src/routing/", forbidden: &["analysis", "cli", "engine", "input", "model", "render", "ui"] },
    ModuleRule { part: "src/input/", forbidden: &["analysis", "cli", "render", "ui"] },
    ModuleRule { part: "src/model/", forbidden: &["analysis", "cli", "render", "ui"] },
    ModuleRule { part: "src/engine/", forbidden: &["analysis", "cli", "render", "ui"] },
    ModuleRule { part: "src/render/", forbidden: &["cli", "engine", "ui"] },
];

#[test]
fn crates_are_named_only_where_they_belong() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let tokens = tokens(&text);
        for rule in CRATE_RULES.iter().filter(|rule| !rule.only_in.iter().any(|place| lies_in(&path, place))) {
            for name in rule.names.iter().filter(|name| tokens.contains(&Token::Ident(name))) {
                faults.push(format!("{path} names {name}, which belongs to {}", rule.only_in.join(", ")));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn modules_are_used_in_one_direction() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let named = crate_modules(&tokens(&text));
        for rule in MODULE_RULES.iter().filter(|rule| lies_in(&path, rule.part)) {
            for module in rule.forbidden.iter().filter(|module| named.contains(module)) {
                faults.push(format!("{path} names crate::{module}, but {} may not", rule.part));
            }
        }
    }
    assert_none(&faults);
}

/// The rules above hold of code that was never read, too. These are known to be there.
#[test]
fn the_scan_sees_what_is_there() {
    let sees = |place: &str, test: &dyn Fn(&[Token<'_>]) -> bool| {
        sources().iter().any(|(path, text)| lies_in(path, place) && test(&tokens(text)))
    };
    assert!(sees("src/engine/", &|tokens| tokens.contains(&Token::Ident("ort"))));
    assert!(sees("src/render/", &|tokens| tokens.contains(&Token::Ident("wgpu"))));
    assert!(sees("src/analysis/", &|tokens| crate_modules(tokens).contains(&"engine")));
    for rule in MODULE_RULES {
        assert!(sees(rule.part, &|_| true), "{} has no files", rule.part);
    }
}

#[test]
fn every_shader_is_loaded_by_the_renderer() {
    let renderer: String =
        sources().into_iter().filter(|(path, _)| lies_in(path, "src/render/")).map(|(_, text)| text).collect();
    let shaders = files_below(&root().join("shaders"), &["wgsl"]);
    assert!(!shaders.is_empty());
    let faults: Vec<String> = shaders
        .iter()
        .map(|path| relative(path))
        .filter(|path| !renderer.contains(&format!("include_str!(\"../../{path}\")")))
        .map(|path| format!("{path} is not loaded by src/render"))
        .collect();
    assert_none(&faults);
}

#[test]
fn every_source_file_says_why_it_is_there() {
    let faults: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| format!("{path} does not start with //!"))
        .collect();
    assert_none(&faults);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file passes.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];
    let folders = ["src", "tests", "benches", "fuzz", "build", "shaders", "scripts", "models"];
    let mut files = vec![root().join("build.rs")];
    for folder in folders {
        files.extend(files_below(&root().join(folder), &["rs", "wgsl", "py"]));
    }
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                faults.push(format!("{}:{}: {}", relative(&file), number + 1, line.trim()));
            }
        }
    }
    assert_none(&faults);
}

/// Every Rust file of `src`: its path from the repository's root, with `/`, and its text.
fn sources() -> Vec<(String, String)> {
    files_below(&root().join("src"), &["rs"])
        .into_iter()
        .map(|path| (relative(&path), fs::read_to_string(&path).unwrap()))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// Whether a path is `place`, or lies below it if it is a folder.
fn lies_in(path: &str, place: &str) -> bool {
    if place.ends_with('/') { path.starts_with(place) } else { path == place }
}

/// The files with one of these extensions, hidden and built folders left out; none where the folder is not there.
fn files_below(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if !name.to_str().is_some_and(|name| name.starts_with('.') || name == "target" || name == "__pycache__") {
                found.extend(files_below(&path, extensions));
            }
        } else if path.extension().and_then(|extension| extension.to_str()).is_some_and(|e| extensions.contains(&e)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Fails with all faults at once.
#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
