//! The comparison with another provider: what was asked for, how far it is, and what came out.

use super::AppState;
use crate::analysis::{ComparisonEvent, ComparisonWish, ImageId, Parity, ParitySum};
use crate::engine::Execution;

/// What is compared, and the results so far.
#[derive(Debug, Default)]
pub struct ParityState {
    /// What was asked for last; its results stay when it has ended.
    pub wish: Option<ComparisonWish>,
    /// How far it is.
    pub stage: ParityStage,
    /// What came out, in the order of the images.
    pub images: Vec<(ImageId, Result<Parity, String>)>,
    /// All of them together.
    pub sum: ParitySum,
    /// How many were asked for in this session.
    asked: u64,
}

/// How far a comparison is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ParityStage {
    /// None was asked for.
    #[default]
    Idle,
    /// The model is being opened on both sides.
    Opening,
    /// Images are being compared.
    Running,
    /// It was stopped by the person.
    Stopped,
    /// Nothing can be compared: what, why, and what to do next.
    Failed(String),
    /// All images are done.
    Done,
}

impl ParityState {
    /// The comparison that should be running.
    #[must_use]
    pub fn wanted(&self) -> Option<&ComparisonWish> {
        self.wish.as_ref().filter(|_| self.is_running())
    }

    /// Whether one is on its way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.stage, ParityStage::Opening | ParityStage::Running)
    }

    /// Asks for a comparison, in place of the one before; it gets a number of its own.
    pub fn begin(&mut self, mut wish: ComparisonWish) {
        let asked = self.asked + 1;
        wish.number = asked;
        *self = Self { wish: Some(wish), stage: ParityStage::Opening, asked, ..Self::default() };
    }

    /// Stops the comparison that runs; what came out so far stays.
    pub fn stop(&mut self) {
        if self.is_running() {
            self.stage = ParityStage::Stopped;
        }
    }

    /// Forgets everything, as another model makes it meaningless.
    pub fn clear(&mut self) {
        *self = Self { asked: self.asked, ..Self::default() };
    }

    /// Takes what the comparison tells.
    pub fn hear(&mut self, event: ComparisonEvent) {
        match event {
            ComparisonEvent::Ready => self.stage = ParityStage::Running,
            ComparisonEvent::Compared(image, parity) => {
                self.sum.add(&parity);
                self.images.push((image, Ok(parity)));
            }
            ComparisonEvent::ImageFailed(image, message) => self.images.push((image, Err(message))),
            ComparisonEvent::Failed(message) => self.stage = ParityStage::Failed(message),
            ComparisonEvent::Done => self.stage = ParityStage::Done,
        }
    }

    /// How an image's results differ, if the comparison was made at this top-k.
    #[must_use]
    pub fn of(&self, image: ImageId, top_k: Option<usize>) -> Option<&Parity> {
        self.wish.as_ref().filter(|wish| wish.top_k == top_k)?;
        let (_, result) = self.images.iter().find(|(id, _)| *id == image)?;
        result.as_ref().ok()
    }
}

impl AppState {
    /// Compares the CPU with `other` on all open images that can be read.
    pub(super) fn start_parity(&mut self, other: Execution) {
        let Some(model) = &self.model.open else { return };
        let readable = self.images.entries().iter().filter(|entry| entry.error.is_none());
        let images = readable.map(|entry| (entry.id, entry.spec.clone())).collect();
        let wish = ComparisonWish { number: 0, model: model.path.clone(), other, top_k: self.wanted_top_k(), images };
        self.parity.begin(wish);
    }
}
