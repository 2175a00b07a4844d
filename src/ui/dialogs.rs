//! File dialogs of the system, and what is read and written for a person, on threads of their own. What a person picks, and what
//! became of it, comes back as a command.

use super::command::{Command, CommandSender, LabelsOf};
use super::state::{MissingFile, file_name};
use crate::analysis::OpenModel;
use crate::model::geometry::gates;
use crate::model::{ModelCard, decode_model, map_file, read_labels};
use crate::report::save_card;
use std::path::PathBuf;
use std::sync::Arc;

/// Asks for images.
pub fn pick_images(commands: &CommandSender, folder: Option<&PathBuf>) {
    let dialog = rfd::AsyncFileDialog::new()
        .set_title("Open images")
        .add_filter("Images", &["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "tga", "ppm", "pgm", "pnm"])
        .add_filter("All files", &["*"]);
    let picked = within(dialog, folder).pick_files();
    answer(commands, async move { picked.await.unwrap_or_default() });
}

/// Asks for a model.
pub fn pick_model(commands: &CommandSender, folder: Option<&PathBuf>) {
    let dialog = rfd::AsyncFileDialog::new()
        .set_title("Open a model")
        .add_filter("ONNX models", &["onnx"])
        .add_filter("All files", &["*"]);
    let picked = within(dialog, folder).pick_file();
    answer(commands, async move { picked.await.into_iter().collect() });
}

/// Asks for a file that a model needs.
pub fn pick_missing(commands: &CommandSender, missing: MissingFile, folder: Option<&PathBuf>) {
    let dialog = rfd::AsyncFileDialog::new().set_title(format!("Locate {}", file_name(&missing.place)));
    let picked = within(dialog, folder).pick_file();
    let commands = commands.clone();
    wait_apart(move || {
        let Some(file) = pollster::block_on(picked) else { return };
        commands.send(Command::PlaceFile(missing, file.path().to_owned()));
    });
}

/// Asks for a file with names of classes for the card of a model, and reads it.
pub fn pick_labels(commands: &CommandSender, (model, of): (PathBuf, LabelsOf), folder: Option<&PathBuf>) {
    let dialog = rfd::AsyncFileDialog::new()
        .set_title("Names of the classes")
        .add_filter("Names", &["txt", "json", "names"])
        .add_filter("All files", &["*"]);
    let picked = within(dialog, folder).pick_file();
    let commands = commands.clone();
    wait_apart(move || {
        let Some(file) = pollster::block_on(picked) else { return };
        let labels = read_labels(file.path()).map_err(|error| error.to_string());
        commands.send(Command::LabelsRead(model, of, labels));
    });
}

/// Writes a card beside its model; a folder on a network may take its time.
pub fn save_beside(commands: &CommandSender, model: Arc<OpenModel>, card: Box<ModelCard>) {
    let (here, path) = (commands.clone(), model.path.clone());
    let save = move || {
        let saved = save_card(&model.description, &card).map(drop).map_err(|error| error.to_string());
        here.send(Command::CardSaved(model.path.clone(), saved));
    };
    if let Err(error) = std::thread::Builder::new().name("moescope-save".into()).spawn(save) {
        commands.send(Command::CardSaved(path, Err(error.to_string())));
    }
}

/// Looks at all tensors of a model, which takes a while for a large one.
pub fn list_gates(commands: &CommandSender, model: Arc<OpenModel>) {
    let (here, of) = (commands.clone(), Arc::clone(&model));
    let list = move || {
        let file = map_file(&model.path).map_err(|error| error.to_string());
        let decoded = file.and_then(|file| decode_model(&model.path, &file).map_err(|error| error.to_string()));
        let listed = decoded.and_then(|decoded| {
            gates(&decoded, &model.card, &model.routers).map(Arc::new).map_err(|error| error.to_string())
        });
        here.send(Command::GatesListed(model, listed));
    };
    if let Err(error) = std::thread::Builder::new().name("moescope-gates".into()).spawn(list) {
        commands.send(Command::GatesListed(of, Err(error.to_string())));
    }
}

fn within(dialog: rfd::AsyncFileDialog, folder: Option<&PathBuf>) -> rfd::AsyncFileDialog {
    match folder {
        Some(folder) => dialog.set_directory(folder),
        None => dialog,
    }
}

/// Waits for the answer on another thread: the window never waits for a dialog.
fn answer(commands: &CommandSender, picked: impl Future<Output = Vec<rfd::FileHandle>> + Send + 'static) {
    let commands = commands.clone();
    wait_apart(move || {
        let paths: Vec<PathBuf> = pollster::block_on(picked).iter().map(|file| file.path().to_owned()).collect();
        if !paths.is_empty() {
            commands.send(Command::OpenPaths(paths));
        }
    });
}

fn wait_apart(wait: impl FnOnce() + Send + 'static) {
    // Without a thread there is no dialog; the path box and dropping files still work.
    drop(std::thread::Builder::new().name("moescope-dialog".into()).spawn(wait));
}
