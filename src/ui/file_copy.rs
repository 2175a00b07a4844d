//! Puts a copy of a file where a model needs it: gigabytes take minutes, so the window goes on meanwhile, says how far it
//! is, and can stop it.

use super::command::{Command, CommandSender};
use super::state::MissingFile;
use crate::report::{Copied, CopyProgress, copy_whole};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the window hears how far it is.
const NEWS: Duration = Duration::from_millis(100);

/// A copy on its way. Dropping it stops it and waits until nothing of it is left, so that none outlives the window.
pub struct FileCopy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FileCopy {
    /// Starts it. How far it is and how it ended comes as [`Command::FileCopied`] and [`Command::FilePlaced`].
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(commands: &CommandSender, missing: MissingFile, from: PathBuf) -> io::Result<Self> {
        let (commands, stop) = (commands.clone(), Arc::new(AtomicBool::new(false)));
        let asked = Arc::clone(&stop);
        let copy = move || {
            let mut told = None;
            let placed = place(&from, &missing, |progress| {
                if told.is_none_or(|told: Instant| told.elapsed() >= NEWS) {
                    told = Some(Instant::now());
                    commands.send(Command::FileCopied(missing.clone(), progress));
                }
                if asked.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            commands.send(Command::FilePlaced(missing, placed));
        };
        let thread = std::thread::Builder::new().name("moescope-copy".into()).spawn(copy)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for FileCopy {
    fn drop(&mut self) {
        self.stop();
        // It fails only where the thread panicked, which the person was told then.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Puts a copy of a file where a model needs it, unless it is that file.
fn place(
    file: &Path,
    missing: &MissingFile,
    go_on: impl FnMut(CopyProgress) -> ControlFlow<()>,
) -> Result<Copied, String> {
    let real = |path: &Path| path.canonicalize().ok();
    if real(&missing.place).is_some_and(|there| real(file) == Some(there)) {
        return Ok(Copied::Whole);
    }
    copy_whole(file, &missing.place, go_on).map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::waker::Waker;
    use std::fs::{self, File};
    use std::sync::mpsc::{Receiver, channel};

    struct Scene {
        folder: tempfile::TempDir,
        missing: MissingFile,
        commands: CommandSender,
        inbox: Receiver<Command>,
    }

    impl Scene {
        /// So many bytes of weights in another place than where the model needs them.
        fn new(bytes: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let [found, place, model] = ["found.bin", "weights.bin", "model.onnx"].map(|name| folder.path().join(name));
            File::create(&found).unwrap().set_len(bytes).unwrap();
            let (sender, inbox) = channel();
            let commands = CommandSender::new(sender, Waker::new(&egui::Context::default()));
            Self { folder, missing: MissingFile { model, place }, commands, inbox }
        }

        fn start(&self) -> FileCopy {
            FileCopy::start(&self.commands, self.missing.clone(), self.folder.path().join("found.bin")).unwrap()
        }

        /// How it ended, and how far it was said to be before.
        fn end(&self) -> (Result<Copied, String>, Vec<CopyProgress>) {
            let mut told = Vec::new();
            loop {
                match self.inbox.recv_timeout(Duration::from_secs(60)).unwrap() {
                    Command::FileCopied(_, progress) => told.push(progress),
                    Command::FilePlaced(_, placed) => return (placed, told),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_file_is_copied_once_and_one_that_is_in_place_is_left_there() {
        let scene = Scene::new(100_000);
        let copy = scene.start();
        assert_eq!(scene.end(), (Ok(Copied::Whole), vec![CopyProgress { done: 0, total: 100_000 }]));
        assert_eq!(fs::read(&scene.missing.place).unwrap(), vec![0; 100_000]);
        drop(copy);
        assert_eq!(place(&scene.missing.place, &scene.missing, |_| panic!("it is there already")), Ok(Copied::Whole));
        let _copy = scene.start();
        let error = scene.end().0.unwrap_err();
        assert!(error.contains("weights.bin"), "another file would be replaced: {error}");
    }

    #[test]
    fn a_window_that_closes_takes_its_copy_along() {
        let scene = Scene::new(256 << 20);
        drop(scene.start());
        assert_eq!(scene.end().0, Ok(Copied::Stopped));
        assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 1, "nothing is left of it");
    }
}
