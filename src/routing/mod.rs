//! The domain: which expert handled which patch, with what weight, and every measure of it.
//!
//! Pure computation over plain values: no IO and nothing of the engine, the GPU or the window, so that each number the
//! program shows can be checked by a table against an independent reference.

mod balance;
mod capacity;
mod compare;
mod gate;
mod grid;
mod index;
mod slots;
mod specialization;
mod trace;

pub use balance::{AuxLossShare, GateInformation, LayerBalance, LoadStats, aux_loss};
pub use capacity::{DroppedAssignment, Overflow, Priority, expert_capacity, overflow};
pub use compare::{RoutingComparison, compare};
pub use gate::{TokenMeasures, entropy, log_sum_exp, margin, softmax, top_indices, z_loss};
pub use grid::{PatchGrid, PixelRect, Windows};
pub use index::{ExpertIdx, LayerIdx, PatchIdx, RoutingError, TopK};
pub use slots::{SlotIdx, SlotWeight, SlotWeights};
pub use specialization::{CoActivation, LabelExpertTable, Specialization};
pub use trace::{LayerRouting, RoutingTrace};
