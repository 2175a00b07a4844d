//! File dialogs of the system, on a thread of their own. What a person picks comes back as a command.

use super::command::{Command, CommandSender};
use std::path::PathBuf;

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

fn within(dialog: rfd::AsyncFileDialog, folder: Option<&PathBuf>) -> rfd::AsyncFileDialog {
    match folder {
        Some(folder) => dialog.set_directory(folder),
        None => dialog,
    }
}

/// Waits for the answer on another thread: the window never waits for a dialog.
fn answer(commands: &CommandSender, picked: impl Future<Output = Vec<rfd::FileHandle>> + Send + 'static) {
    let commands = commands.clone();
    let wait = move || {
        let paths: Vec<PathBuf> = pollster::block_on(picked).iter().map(|file| file.path().to_owned()).collect();
        if !paths.is_empty() {
            commands.send(Command::OpenPaths(paths));
        }
    };
    // Without a thread there is no dialog; the path box and dropping files still work.
    drop(std::thread::Builder::new().name("moescope-dialog".into()).spawn(wait));
}
