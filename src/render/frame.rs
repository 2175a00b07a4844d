//! What a frame tells the renderer: numbers only. Positions are physical pixels of the target, from its upper left corner.

use super::ColorScale;
use crate::routing::{PatchGrid, SlotIdx, SlotWeight};

/// Names something uploaded: one per decoded image and one per analysis. Whoever uploads makes the key, and never uses one
/// twice for different contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentKey(pub u64);

/// Names a heatmap or a chart on screen. Two panes of one frame need two; the same pane keeps its own over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaneId(pub u64);

/// What is shown over the photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlay {
    /// The photo alone.
    #[default]
    None,
    /// The colour of the expert that was chosen at a rank.
    ChosenExpert {
        /// 0 for the best. Beyond k nothing is shown.
        rank: usize,
    },
    /// The gate probability of one expert, on the scale from 0 to [`HeatmapStyle::scale_max`].
    GateProb {
        /// Which expert.
        expert: u32,
    },
    /// Gate entropy, on the scale from 0 to ln E.
    Entropy,
    /// How far the last chosen expert is ahead of the first one left out, on the scale from 0 to 1.
    Margin,
    /// How many experts handled the patch, on the scale from 0 to k.
    ExpertCount,
    /// One of a slot's weights, on the scale from 0 to [`HeatmapStyle::scale_max`].
    Slot {
        /// Which weight.
        weight: SlotWeight,
        /// Which slot.
        slot: SlotIdx,
    },
}

/// How a heatmap looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeatmapStyle {
    /// What is shown over the photo. A value that is not finite is hatched in greys.
    pub overlay: Overlay,
    /// Opacity of the overlay, 0 to 1. At 1 a patch has exactly the colour of its expert or value.
    pub opacity: f32,
    /// [`Overlay::ChosenExpert`] only: the opacity is multiplied with the combine weight.
    pub weight_opacity: bool,
    /// The colours of values.
    pub scale: ColorScale,
    /// [`Overlay::GateProb`] and [`Overlay::Slot`] only: the value at the scale's upper end.
    pub scale_max: f32,
    /// Lines between patches. They fade as the patches get small, and end below 6 points.
    pub grid_lines: bool,
    /// Dims what the model did not see, and draws a frame around what it saw.
    pub dim_outside: bool,
    /// Only patches that chose this expert, at any rank, stay lit, under a fine hatch. [`Overlay::ChosenExpert`] shows
    /// this expert and its own weight there instead of the rank's.
    pub lit_expert: Option<u32>,
    /// What lies around the image, and what dimmed parts fade into: sRGB with straight alpha, 0 to 1.
    pub background: [f32; 4],
    /// Light grid lines instead of dark ones.
    pub dark: bool,
    /// Physical pixels per point, which line widths are given in.
    pub pixels_per_point: f32,
}

impl Default for HeatmapStyle {
    fn default() -> Self {
        Self {
            overlay: Overlay::ChosenExpert { rank: 0 },
            opacity: 0.6,
            weight_opacity: false,
            scale: ColorScale::default(),
            scale_max: 1.0,
            grid_lines: true,
            dim_outside: true,
            lit_expert: None,
            background: [0.0, 0.0, 0.0, 1.0],
            dark: true,
            pixels_per_point: 1.0,
        }
    }
}

/// One heatmap in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeatmapFrame {
    /// The photo.
    pub image: ContentKey,
    /// The routing over it.
    pub routing: Option<ContentKey>,
    /// The MoE layer, from 0.
    pub layer: usize,
    /// How that layer's patches lie on the image.
    pub grid: PatchGrid,
    /// Size of the whole image in its own pixels, which [`PatchGrid::seen`] counts in.
    pub image_size: [f32; 2],
    /// The pane: x, y, width, height. Nothing is drawn outside.
    pub view_px: [f32; 4],
    /// Where the whole image lies: x, y, width, height. May reach beyond the pane.
    pub image_px: [f32; 4],
    /// The patch under the pointer.
    pub hovered: Option<u32>,
    /// The patch that was clicked.
    pub pinned: Option<u32>,
    /// How it looks.
    pub style: HeatmapStyle,
}

/// One load chart in one frame: a bar per expert, centred on the expert's number. Heights are what the GPU counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BarsFrame {
    /// The routing whose loads are shown.
    pub routing: ContentKey,
    /// The MoE layer, from 0.
    pub layer: usize,
    /// The pane: x, y, width, height. Nothing is drawn outside.
    pub view_px: [f32; 4],
    /// The chart's inner rectangle, which the ranges below span: x, y, width, height. Nothing is drawn outside.
    pub plot_px: [f32; 4],
    /// Expert numbers at the left and the right edge; expert 0 is centred on 0.
    pub x_range: [f32; 2],
    /// Load (tokens × ranks) at the upper edge; the largest of the layer if there is none. The lower edge is 0.
    pub y_max: Option<f32>,
    /// Width of a bar, as a share of the distance between two experts.
    pub bar_width: f32,
    /// Marks each expert's importance, where its load would be if loads were shared out in the same proportions.
    pub importance_marks: bool,
    /// Only this expert's bar stays lit, under a fine hatch.
    pub lit_expert: Option<u32>,
    /// The bar under the pointer.
    pub hovered: Option<u32>,
    /// Physical pixels per point.
    pub pixels_per_point: f32,
}
