//! The domain: which expert handled which patch, with what weight, and every measure of it.
//!
//! Pure computation over plain values: no IO and nothing of the engine, the GPU or the window, so that each number the
//! program shows can be checked by a table against an independent reference.

mod grid;
mod index;
mod trace;

pub use grid::{PatchGrid, PixelRect};
pub use index::{ExpertIdx, LayerIdx, PatchIdx, RoutingError, TopK};
pub use trace::{LayerRouting, RoutingTrace};
