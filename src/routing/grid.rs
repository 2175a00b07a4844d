//! The only place that turns tokens into pixels and back.
//!
//! Three coordinate systems meet here: patches (row, column), pixels of the whole image (origin at its upper left
//! corner, x to the right, y down), and fractions of the part of the image that the model saw.

use super::PatchIdx;
use serde::{Deserialize, Serialize};

/// A rectangle in pixels of the whole image; fractions of a pixel count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PixelRect {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// How the patches of one model input lie on one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchGrid {
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// The part of the image that the model saw (its crop), in pixels of the whole image.
    pub seen: PixelRect,
}

impl PatchGrid {
    /// Number of patches.
    #[must_use]
    pub fn num_patches(&self) -> usize {
        self.rows * self.cols
    }

    /// Row and column of a patch, both from 0.
    #[must_use]
    pub fn row_col(&self, patch: PatchIdx) -> (usize, usize) {
        (patch.0 / self.cols, patch.0 % self.cols)
    }

    /// The patch at a row and column, if the grid has it.
    #[must_use]
    pub fn patch_at(&self, row: usize, col: usize) -> Option<PatchIdx> {
        (row < self.rows && col < self.cols).then(|| PatchIdx(row * self.cols + col))
    }

    /// The pixels of the image that a patch covers.
    #[must_use]
    pub fn pixels_from_patch(&self, patch: PatchIdx) -> PixelRect {
        let (row, col) = self.row_col(patch);
        let (width, height) = (self.seen.width / self.cols as f32, self.seen.height / self.rows as f32);
        PixelRect { x: self.seen.x + col as f32 * width, y: self.seen.y + row as f32 * height, width, height }
    }

    /// The patch under a position in the image; `None` outside of what the model saw.
    /// An edge between two patches belongs to the right or lower one.
    #[must_use]
    pub fn patch_from_pixel(&self, x: f32, y: f32) -> Option<PatchIdx> {
        let col = (x - self.seen.x) / self.seen.width * self.cols as f32;
        let row = (y - self.seen.y) / self.seen.height * self.rows as f32;
        let inside = col >= 0.0 && row >= 0.0;
        inside.then(|| self.patch_at(row as usize, col as usize)).flatten()
    }
}
