//! Where the tokens of a layer lie on the image: layers of one model may differ, and some tokens lie nowhere.

use crate::model::{GridCard, TokenLayout, TokenOrder};
use crate::routing::{LayerRouting, PatchGrid, PixelRect};

/// Where the tokens of a layer lie on the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TokenPlace {
    /// Patches, row by row.
    Patches(PatchGrid),
    /// One token for the whole image.
    Image,
    /// Nowhere: object queries, text.
    Unplaced,
}

impl TokenPlace {
    /// The grid of the patches, where tokens are patches.
    #[must_use]
    pub fn grid(&self) -> Option<PatchGrid> {
        match self {
            Self::Patches(grid) => Some(*grid),
            Self::Image | Self::Unplaced => None,
        }
    }
}

/// One layer's tokens of one image, as a card lays them out; the tokens that have a place, in the order of their patches.
pub(super) fn placed(
    routing: LayerRouting,
    layout: TokenLayout,
    grid: &GridCard,
    seen: PixelRect,
) -> (LayerRouting, TokenPlace) {
    match layout {
        TokenLayout::Patches if routing.num_tokens() == grid.num_tokens() => {
            let place = TokenPlace::Patches(PatchGrid { rows: grid.rows, cols: grid.cols, seen });
            let is_all = grid.order == TokenOrder::RowMajor && grid.prefix_tokens + grid.suffix_tokens == 0;
            (if is_all { routing } else { routing.of_tokens(&grid.tokens_of_patches()) }, place)
        }
        TokenLayout::Image if routing.num_tokens() == 1 => (routing, TokenPlace::Image),
        _ => (routing, TokenPlace::Unplaced),
    }
}
