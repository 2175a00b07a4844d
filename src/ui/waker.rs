//! Asks for the next frame of whichever window is open: threads outlive a window that was lost with its graphics device.

use std::sync::{Arc, Mutex, PoisonError};

/// A handle to the open window, for any thread.
#[derive(Clone)]
pub struct Waker(Arc<Mutex<egui::Context>>);

impl Waker {
    /// Wakes the window of a context.
    #[must_use]
    pub fn new(ctx: &egui::Context) -> Self {
        Self(Arc::new(Mutex::new(ctx.clone())))
    }

    /// Asks for a frame.
    pub fn wake(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).request_repaint();
    }

    /// From now on, all copies wake another window.
    pub fn move_to(&self, ctx: &egui::Context) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ctx.clone();
    }
}
