//! What a panel may read, and the one way in which it may act.

use super::command::{Command, CommandSender};
use super::state::AppState;
use crate::analysis::{Parity, TokenPlace};
use crate::render::{expert_color, text_color_on};
use crate::routing::{ExpertIdx, PatchIdx};
use egui::Color32;

/// Read access to the frozen state, and a sender for commands.
pub struct ViewCtx<'a> {
    /// What the window knows and wants.
    pub state: &'a AppState,
    /// Whether our shaders can draw; without them the numbers are still shown.
    pub can_draw: bool,
    /// The patch under the pointer in the frame before.
    pub hovered: Option<PatchIdx>,
    commands: &'a CommandSender,
}

impl<'a> ViewCtx<'a> {
    /// Frozen for one frame.
    #[must_use]
    pub fn new(state: &'a AppState, commands: &'a CommandSender, can_draw: bool, hovered: Option<PatchIdx>) -> Self {
        Self { state, can_draw, hovered, commands }
    }

    /// The colour of an expert of the layer on screen: the same in every panel.
    #[must_use]
    pub fn color_of(&self, expert: ExpertIdx) -> Color32 {
        opaque(self.rgb_of(expert))
    }

    /// Black or white, whichever reads better on the colour of an expert.
    #[must_use]
    pub fn text_color_on(&self, expert: ExpertIdx) -> Color32 {
        opaque(text_color_on(self.rgb_of(expert)))
    }

    fn rgb_of(&self, expert: ExpertIdx) -> [u8; 3] {
        let usage = self.state.results.usage(self.state.view.layer);
        usage.map_or_else(|| expert_color(expert.0), |usage| usage.palette.color(expert.0))
    }

    /// How the shown image's routing differs on another provider, if that was compared at the top-k on screen.
    #[must_use]
    pub fn shown_parity(&self) -> Option<&'a Parity> {
        let shown = self.state.shown().filter(|shown| shown.analysis.change.is_none())?;
        self.state.parity.of(shown.image, shown.analysis.top_k)
    }

    /// Asks for something; it is done before the next frame.
    pub fn send(&self, command: Command) {
        self.commands.send(command);
    }

    /// The patch that the inspector and the status line tell of: the hovered one, else the pinned one. Tokens without a
    /// place cannot be pointed at, so there the first one stands in.
    #[must_use]
    pub fn inspected(&self) -> Option<PatchIdx> {
        let layer = self.state.shown_layer()?;
        let unplaced = matches!(self.state.shown_place()?, TokenPlace::Image | TokenPlace::Unplaced);
        let first = unplaced.then_some(PatchIdx(0));
        self.hovered.or(self.state.view.pinned).or(first).filter(|patch| patch.0 < layer.num_tokens())
    }
}

fn opaque([r, g, b]: [u8; 3]) -> Color32 {
    Color32::from_rgb(r, g, b)
}
