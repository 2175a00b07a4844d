//! The window's graphics device: what was brought to it, and what it says.

use super::gpu::{self, Contents, DeviceHealth, RenderState};
use super::state::AppState;
use super::waker::Waker;
use crate::analysis::{ImageId, Outcome, OutcomeId};

/// The graphics device of one window.
pub struct WindowGpu {
    /// `None` where our shaders cannot draw.
    render_state: Option<RenderState>,
    health: DeviceHealth,
    /// The names of what it was brought.
    contents: (Vec<ImageId>, Vec<OutcomeId>),
}

impl WindowGpu {
    /// Prepares a new window's device; what it lacks is said.
    #[must_use]
    pub fn open(cc: &eframe::CreationContext<'_>, waker: &Waker, state: &mut AppState) -> Self {
        let render_state = cc.wgpu_render_state.clone();
        let health = render_state.as_ref().map(|render_state| gpu::listen(render_state, waker)).unwrap_or_default();
        let installed = render_state.as_ref().map(gpu::install);
        let can_draw = matches!(installed, Some(Ok(_)));
        match installed {
            Some(Ok(None)) | None => {}
            Some(Ok(Some(without))) => state.notify("The graphics adapter offers less than usual", without),
            Some(Err(reason)) => state.notify("Pictures are drawn without shaders, slower and simpler", reason),
        }
        Self { render_state: render_state.filter(|_| can_draw), health, contents: Default::default() }
    }

    /// Whether our shaders can draw.
    #[must_use]
    pub fn can_draw(&self) -> bool {
        self.render_state.is_some()
    }

    /// Why the device is gone, if it is.
    #[must_use]
    pub fn lost_device(&self) -> Option<String> {
        self.health.lost().map(str::to_owned)
    }

    /// Brings what the screen draws to the device when that changed. What the device does not take, and its errors, are
    /// said once.
    pub fn update(&mut self, state: &mut AppState) {
        if let Some(error) = self.health.take_error() {
            let advice = "The window goes on; if something is missing in it, restart it or update the graphics driver";
            state.notify("The graphics driver reported an error", format!("{error}. {advice}"));
        }
        let Some(render_state) = &self.render_state else { return };
        let contents = contents(state);
        let ids = contents.ids();
        if ids == self.contents {
            return;
        }
        let troubles = gpu::bring(render_state, &contents);
        self.contents = ids;
        for trouble in troubles {
            state.notify("A part of the picture cannot be drawn", trouble);
        }
    }
}

/// Everything that the screen draws.
fn contents(state: &AppState) -> Contents<'_> {
    let multiples = state.results.multiples().iter().map(|multiple| &multiple.outcome);
    let outcomes: Vec<&Outcome> = state.shown().into_iter().chain(multiples).collect();
    let shown = outcomes.iter().map(|outcome| (outcome.image, outcome.analysis.image.as_ref()));
    let decoded = state.decoded.iter().map(|(id, image)| (*id, image.as_ref()));
    let mut images: Vec<_> = shown.chain(decoded).collect();
    images.sort_unstable_by_key(|(id, _)| id.0);
    images.dedup_by_key(|(id, _)| *id);
    Contents { images, outcomes }
}
