//! How long it takes to bring a photo and its routing to the GPU, as the window does once per analysis.

use crate::analysis::Analysis;
use crate::render::offscreen::Offscreen;
use crate::render::{ContentKey, RenderError};
use std::time::Instant;

/// A GPU without a window.
pub(super) struct Uploader {
    offscreen: Offscreen,
    next_key: u64,
}

impl Uploader {
    pub(super) fn new() -> Result<Self, RenderError> {
        Ok(Self { offscreen: Offscreen::new()?, next_key: 0 })
    }

    /// Seconds until the GPU has it all: a picture of one pixel is drawn after it and waited for.
    pub(super) fn seconds(&mut self, analysis: &Analysis) -> Result<f64, RenderError> {
        let [image, routing] = [ContentKey(self.next_key), ContentKey(self.next_key + 1)];
        self.next_key += 2;
        let measures = analysis.layers.iter().map(|layer| &layer.tokens);
        let started = Instant::now();
        let photo = &analysis.image;
        self.offscreen.renderer().set_image(image, [photo.width, photo.height], &photo.rgba)?;
        self.offscreen.renderer().set_routing(routing, &analysis.trace, measures)?;
        self.offscreen.draw([1, 1], |_, _| {})?;
        let seconds = started.elapsed().as_secs_f64();
        self.offscreen.renderer().retain(&[]);
        Ok(seconds)
    }
}
