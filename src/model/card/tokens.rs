//! The part of the model card about tokens: which of them are patches, and where those lie on the image.

use crate::routing::Windows;
use serde::{Deserialize, Serialize};

/// How the tokens of one image lie on its input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridCard {
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// Class, register and text tokens before the first patch.
    #[serde(default)]
    pub prefix_tokens: usize,
    /// Tokens after the last patch, such as text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suffix_tokens: usize,
    /// The order of the patches between those.
    #[serde(default, skip_serializing_if = "TokenOrder::is_row_major")]
    pub order: TokenOrder,
}

/// The order in which a router's tokens walk over the patches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOrder {
    /// Row by row.
    #[default]
    RowMajor,
    /// Window by window (row by row, and so inside each), after a cyclic shift up and to the left, as Swin has it:
    /// `window_partition(torch.roll(x, (-shift_rows, -shift_cols)))`.
    Windows {
        /// Rows of patches of a window; divides the rows of the grid.
        rows: usize,
        /// Columns of patches of a window; divides the columns of the grid.
        cols: usize,
        /// Rows by which the patches were shifted up.
        #[serde(default)]
        shift_rows: usize,
        /// Columns by which the patches were shifted to the left.
        #[serde(default)]
        shift_cols: usize,
    },
    /// Any other walk, such as MaxViT's grid attention, or windows on a grid that was padded for them: the patch of each
    /// token, counted row by row, and null for a token that is padding. Every patch is there once.
    Listed(Vec<Option<usize>>),
}

impl TokenOrder {
    /// The windows, where tokens do not walk row by row.
    #[must_use]
    pub fn windows(&self) -> Option<Windows> {
        match *self {
            Self::RowMajor | Self::Listed(_) => None,
            Self::Windows { rows, cols, shift_rows, shift_cols } => {
                Some(Windows { rows, cols, shift_rows, shift_cols })
            }
        }
    }

    fn is_row_major(&self) -> bool {
        *self == Self::RowMajor
    }
}

impl GridCard {
    /// A grid of patches alone, row by row.
    #[must_use]
    pub fn patches(rows: usize, cols: usize) -> Self {
        Self { rows, cols, prefix_tokens: 0, suffix_tokens: 0, order: TokenOrder::RowMajor }
    }

    /// Number of tokens of one image: prefix, patches, padding and suffix.
    #[must_use]
    pub fn num_tokens(&self) -> usize {
        self.prefix_tokens + self.rows * self.cols + self.padding_tokens() + self.suffix_tokens
    }

    /// Number of tokens of one image that are padding: they have no place on it.
    #[must_use]
    pub fn padding_tokens(&self) -> usize {
        match &self.order {
            TokenOrder::Listed(patches) => patches.iter().filter(|patch| patch.is_none()).count(),
            TokenOrder::RowMajor | TokenOrder::Windows { .. } => 0,
        }
    }

    /// For each patch, row by row, its token; row-major where the order does not fit the grid, which no card that was
    /// checked has.
    #[must_use]
    pub fn tokens_of_patches(&self) -> Vec<usize> {
        let patches = self.rows * self.cols;
        let in_order = || (0..patches).collect();
        let walked = match &self.order {
            TokenOrder::RowMajor => in_order(),
            TokenOrder::Windows { .. } => {
                let windows = self.order.windows();
                windows.and_then(|windows| windows.tokens(self.rows, self.cols)).unwrap_or_else(in_order)
            }
            TokenOrder::Listed(listed) => {
                let mut tokens = in_order();
                for (token, patch) in listed.iter().enumerate() {
                    if let Some(of_patch) = patch.and_then(|patch| tokens.get_mut(patch)) {
                        *of_patch = token;
                    }
                }
                tokens
            }
        };
        walked.into_iter().map(|token| self.prefix_tokens + token).collect()
    }
}

pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What the tokens of a router are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenLayout {
    /// Patches on a grid, with what stands before and after them.
    #[default]
    Patches,
    /// One token: the router decides once for the whole image.
    Image,
    /// Tokens without a place on the image, such as object queries or text alone.
    Unplaced,
}

impl TokenLayout {
    pub(super) fn is_patches(&self) -> bool {
        *self == Self::Patches
    }
}
