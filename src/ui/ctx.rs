//! What a panel may read, and the one way in which it may act.

use super::command::{Command, CommandSender};
use super::state::AppState;
use crate::routing::PatchIdx;

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

    /// Asks for something; it is done before the next frame.
    pub fn send(&self, command: Command) {
        self.commands.send(command);
    }

    /// The patch that the inspector and the status line tell of: the hovered one, else the pinned one.
    #[must_use]
    pub fn inspected(&self) -> Option<PatchIdx> {
        let layer = self.state.shown_layer()?;
        self.hovered.or(self.state.view.pinned).filter(|patch| patch.0 < layer.num_tokens())
    }
}
