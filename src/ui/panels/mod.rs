//! The parts of the window. Each reads the frozen state through a [`ViewCtx`](super::ctx::ViewCtx) and sends commands.

pub(super) mod card;
pub(super) mod changes;
pub(super) mod detections;
pub(super) mod heatmap;
pub(super) mod help;
pub(super) mod images;
pub(super) mod inspector;
pub(super) mod layers;
pub(super) mod legend;
pub(super) mod load;
pub(super) mod model;
pub(super) mod multiples;
pub(super) mod notices;
pub(super) mod parity;
pub(super) mod predictions;
pub(super) mod routing;
mod slots;
pub(super) mod status;
pub(super) mod toolbar;
pub(super) mod top_bar;
mod usage;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
