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

/// The order in which tokens walk over the patches of a grid where that is not row by row: window by window (row by
/// row, and so inside each), after all patches moved cyclically up and to the left.
///
/// Swin Transformer (Liu et al., ICCV 2021): `window_partition(torch.roll(x, (-shift_rows, -shift_cols), (1, 2)))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Rows of patches of a window; divides the grid's.
    pub rows: usize,
    /// Columns of patches of a window; divides the grid's.
    pub cols: usize,
    /// Rows by which the patches moved up.
    pub shift_rows: usize,
    /// Columns by which the patches moved to the left.
    pub shift_cols: usize,
}

impl Windows {
    /// The patch (row-major over `rows` × `cols`) of each token, in the order of the tokens: a permutation. `None`
    /// where the windows do not divide the grid.
    #[must_use]
    pub fn patches(&self, rows: usize, cols: usize) -> Option<Vec<PatchIdx>> {
        let fits = self.rows > 0 && self.cols > 0 && rows.is_multiple_of(self.rows) && cols.is_multiple_of(self.cols);
        let per_window = self.rows * self.cols;
        let patch = |token: usize| {
            let (window, inside) = (token / per_window, token % per_window);
            let windows_across = cols / self.cols;
            let row = window / windows_across * self.rows + inside / self.cols;
            let col = window % windows_across * self.cols + inside % self.cols;
            PatchIdx((row + self.shift_rows) % rows * cols + (col + self.shift_cols) % cols)
        };
        fits.then(|| (0..rows * cols).map(patch).collect())
    }

    /// Puts values that come token by token, `values_per_token` each, into row-major order of the patches.
    /// `None` where the windows do not divide the grid, or there are not so many values.
    #[must_use]
    pub fn to_row_major<T: Clone>(
        &self,
        tokens: &[T],
        values_per_token: usize,
        [rows, cols]: [usize; 2],
    ) -> Option<Vec<T>> {
        let token_of = self.tokens(rows, cols)?;
        if values_per_token == 0 || tokens.len() != token_of.len() * values_per_token {
            return None;
        }
        let values = |token: usize| &tokens[token * values_per_token..][..values_per_token];
        Some(token_of.into_iter().flat_map(values).cloned().collect())
    }

    /// The token of each patch, in row-major order of the patches; `None` where the windows do not divide the grid.
    #[must_use]
    pub fn tokens(&self, rows: usize, cols: usize) -> Option<Vec<usize>> {
        let patches = self.patches(rows, cols)?;
        let mut tokens = vec![0; patches.len()];
        patches.iter().enumerate().for_each(|(token, patch)| tokens[patch.0] = token);
        Some(tokens)
    }
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
