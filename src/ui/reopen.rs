//! A window that outlives its graphics device. A driver may be updated, reset or crash; egui has no way to give an open
//! window another device, but another window has one. What was in the old window moves over, so that nothing is lost.

use super::gpu::Adapters;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What is shown in a window and can go on in another one.
pub trait Movable: eframe::App {
    /// Why this window can show nothing any more, if that is so.
    fn lost_device(&self) -> Option<String>;

    /// Goes on in another window, whose egui context and graphics device are new.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    fn move_to(&mut self, cc: &eframe::CreationContext<'_>, reason: &str) -> std::io::Result<()>;
}

/// Why no window is open.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] eframe::Error),
    /// The graphics device was lost again and again.
    #[error(
        "the graphics device was lost {times} times within a minute ({reason}). Update the graphics driver, or choose \
         another one with WGPU_BACKEND=vulkan or gl, or a software one (Debian and Ubuntu: mesa-vulkan-drivers) with \
         VK_DRIVER_FILES"
    )]
    Lost {
        /// How often.
        times: usize,
        /// The driver's words.
        reason: String,
    },
}

/// Losses closer together than this are one trouble.
const CALM: Duration = Duration::from_secs(60);
/// So many losses end the program; before the last one a software adapter is tried.
const MOST_LOSSES: usize = 3;

/// Opens the window, and opens it anew after its device was lost, until it is closed. `options` are asked for every
/// window with the adapters that it may use; `create` is called once.
///
/// # Errors
/// [`WindowError`] when no window can be opened, or none keeps its device.
pub fn run<A: Movable + 'static>(
    name: &str,
    options: impl Fn(Adapters) -> eframe::NativeOptions,
    create: impl FnOnce(&eframe::CreationContext<'_>) -> std::io::Result<A>,
) -> Result<(), WindowError> {
    let home = Rc::new(RefCell::new(None));
    let (mut create, mut losses) = (Some(create), Losses::default());
    let (mut adapters, mut moving, mut first_error) = (Adapters::Best, None, None);
    loop {
        let creator: eframe::AppCreator<'_> = Box::new(|cc| {
            let app = match (home.borrow_mut().take(), create.take()) {
                (Some(mut app), _) => {
                    A::move_to(&mut app, cc, moving.as_deref().unwrap_or_default())?;
                    app
                }
                (None, Some(create)) => create(cc)?,
                (None, None) => return Err("the content of the window is gone".into()),
            };
            Ok(Box::new(Lent { app: Some(app), home: Rc::clone(&home) }))
        });
        // egui's renderer panics when the device goes between laying a frame out and drawing it.
        let ended = catch_unwind(AssertUnwindSafe(|| eframe::run_native(name, options(adapters), creator)));
        let lost = home.borrow().as_ref().and_then(A::lost_device);
        match (ended, lost) {
            (_, Some(reason)) => {
                adapters = losses.next(Instant::now(), &reason)?;
                moving = Some(reason);
            }
            // The best adapter may have a driver that does not start.
            (Ok(Err(error @ eframe::Error::Wgpu(_))), None) if create.is_some() && first_error.is_none() => {
                adapters = Adapters::Software;
                first_error = Some(error);
            }
            (Ok(Err(error)), None) => return Err(first_error.unwrap_or(error).into()),
            (Ok(Ok(())), None) => return Ok(()),
            (Err(panic), None) => resume_unwind(panic),
        }
    }
}

/// Counts losses, and says what the next window may use.
#[derive(Debug, Default)]
struct Losses(Vec<Instant>);

impl Losses {
    fn next(&mut self, now: Instant, reason: &str) -> Result<Adapters, WindowError> {
        self.0.retain(|&loss| now.duration_since(loss) < CALM);
        self.0.push(now);
        match self.0.len() {
            1 => Ok(Adapters::Best),
            times if times < MOST_LOSSES => Ok(Adapters::Software),
            times => Err(WindowError::Lost { times, reason: reason.to_owned() }),
        }
    }
}

/// Content that goes home when its window goes, also where that ends in a panic.
struct Lent<A> {
    app: Option<A>,
    home: Rc<RefCell<Option<A>>>,
}

impl<A> Drop for Lent<A> {
    fn drop(&mut self) {
        *self.home.borrow_mut() = self.app.take();
    }
}

impl<A: Movable> eframe::App for Lent<A> {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut eframe::Frame) {
        let Some(app) = &mut self.app else { return };
        if app.lost_device().is_some() {
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        } else {
            app.logic(ctx, frame);
        }
    }

    /// Without a device there must be nothing to draw.
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if let Some(app) = self.app.as_mut().filter(|app| app.lost_device().is_none()) {
            app.ui(ui, frame);
        }
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if let Some(app) = &mut self.app {
            app.save(storage);
        }
    }

    fn persist_egui_memory(&self) -> bool {
        self.app.as_ref().is_some_and(eframe::App::persist_egui_memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loss_tries_software_and_a_third_ends() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let mut lose = |secs| losses.next(start + Duration::from_secs(secs), "driver reset");
        assert!(matches!(lose(0), Ok(Adapters::Best)));
        assert!(matches!(lose(10), Ok(Adapters::Software)));
        let error = lose(20).unwrap_err();
        assert!(matches!(error, WindowError::Lost { times: 3, .. }) && error.to_string().contains("driver reset"));
        // After a calm minute everything is new.
        assert!(matches!(lose(81), Ok(Adapters::Best)));
    }
}
