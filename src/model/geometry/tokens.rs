//! From the places of a router's tokens to what the card says of them: prefix, grid, order, suffix.

use super::places::{Place, Places};
use crate::model::{GridCard, TokenLayout, TokenOrder};
use crate::routing::Windows;

/// What was found out about the tokens of one router.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// One token for each image.
    Image,
    /// Patches on a grid.
    Grid(GridCard),
    /// So many tokens of each image, none of which has a place of its own.
    Unplaced(usize),
    /// So many tokens of each image, whose places fit no order that a card can tell.
    Unclear(usize),
}

impl Found {
    /// As a layer of the card tells it.
    pub fn layout(&self) -> TokenLayout {
        match self {
            Self::Image => TokenLayout::Image,
            Self::Grid(_) => TokenLayout::Patches,
            Self::Unplaced(_) | Self::Unclear(_) => TokenLayout::Unplaced,
        }
    }
}

/// The tokens of a tensor with the experts on `expert_axis`, for a batch of so many images.
pub(super) fn tokens_of(places: &Places, expert_axis: Option<usize>, batch: usize) -> Option<Found> {
    let rank = places.shape().len();
    let experts = expert_axis.filter(|&axis| axis < rank);
    let places = experts.map_or_else(|| Some(places.clone()), |axis| places.reduced(&[axis], true))?;
    let varying = (0..rank).filter(|&axis| Some(axis) != experts && places.varies(axis));
    // Axes along which no place changes are images, heads, or halves of keys.
    let count: usize = varying.map(|axis| places.shape()[axis]).product();
    if count == 1 || !places.is_anywhere() {
        let mut sizes = (0..rank).filter(|&axis| Some(axis) != experts).map(|axis| places.shape()[axis]);
        let all = sizes.try_fold(1_usize, usize::checked_mul)?;
        return Some(unplaced(all / batch));
    }
    let all: Vec<Place> = places.iter().collect();
    // The images of a batch follow one another, each with the same places.
    let is_batched = batch > 1
        && count.is_multiple_of(batch)
        && all.chunks(count / batch).all(|image| image == &all[..count / batch]);
    Some(lie(if is_batched { &all[..count / batch] } else { &all }))
}

fn unplaced(count: usize) -> Found {
    if count <= 1 { Found::Image } else { Found::Unplaced(count) }
}

/// How the tokens of one image lie on it.
pub(super) fn lie(tokens: &[Place]) -> Found {
    let count = tokens.len();
    // A class token that was given something of the whole image still is no patch; of several scales, the finest is shown.
    let closest = tokens.iter().filter(|place| place.is_somewhere()).map(|place| place.reach).fold(f32::MAX, f32::min);
    let patch = |place: &Place| if place.reach > 1.5 * closest { Place::NOWHERE } else { *place };
    let tokens: Vec<Place> = tokens.iter().map(patch).collect();
    let Some(first) = tokens.iter().position(|place| place.is_somewhere()) else { return unplaced(count) };
    let last = tokens.iter().rposition(|place| place.is_somewhere()).unwrap_or(first);
    let patches = &tokens[first..=last];
    if patches.iter().all(|place| *place == patches[0]) {
        return unplaced(count);
    }
    let (ys, xs) = (distinct(patches.iter().map(|place| place.y)), distinct(patches.iter().map(|place| place.x)));
    let (rows, cols) = (ys.len(), xs.len());
    let at = |values: &[f32], value: f32| values.partition_point(|&known| known < value - NEAR);
    let cells: Vec<usize> = patches.iter().map(|place| at(&ys, place.y) * cols + at(&xs, place.x)).collect();
    if patches.len() != rows * cols || patches.iter().any(|place| !place.is_somewhere()) {
        return Found::Unclear(count);
    }
    match order(&cells, rows, cols) {
        Some(order) => {
            let (prefix_tokens, suffix_tokens) = (first, count - 1 - last);
            Found::Grid(GridCard { rows, cols, prefix_tokens, suffix_tokens, order })
        }
        None => Found::Unclear(count),
    }
}

/// Centres closer than this, in pixels, are the same.
const NEAR: f32 = 0.25;

/// The values in order, each once.
fn distinct(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.dedup_by(|next, known| *next - *known < NEAR);
    values
}

/// Larger grids are not tried for windows.
const MAX_WINDOWED: usize = 1 << 16;

/// The order in which tokens walk over the cells of a grid: the one of all that the card knows that gives these cells.
fn order(cells: &[usize], rows: usize, cols: usize) -> Option<TokenOrder> {
    if cells.iter().copied().eq(0..rows * cols) {
        return Some(TokenOrder::RowMajor);
    }
    if cells.len() > MAX_WINDOWED {
        return None;
    }
    // A window begins where the shift put it, and its first row ends where the walk leaves the row.
    let (shift_rows, shift_cols) = (cells[0] / cols, cells[0] % cols);
    let is_next = |(n, cell): &(usize, &usize)| **cell == shift_rows * cols + (shift_cols + n) % cols;
    let wide = cells.iter().take(cols).enumerate().take_while(is_next).count();
    let divisors = |size: usize| (1..=size).filter(move |n| size.is_multiple_of(*n));
    let wides = divisors(cols).filter(|&cols| cols <= wide);
    let candidates = wides.flat_map(|wide| divisors(rows).map(move |high| (high, wide)));
    let walked = |(rows_of, cols_of): &(usize, usize)| {
        let windows = Windows { rows: *rows_of, cols: *cols_of, shift_rows, shift_cols };
        windows.patches(rows, cols).is_some_and(|patches| patches.iter().map(|patch| &patch.0).eq(cells))
    };
    let (rows, cols) = candidates.into_iter().find(walked)?;
    Some(TokenOrder::Windows { rows, cols, shift_rows, shift_cols })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle of the cell at a row and column of a map with cells of so many pixels.
    fn cell(row: usize, col: usize, side: usize) -> Place {
        let middle = |n: usize| ((2 * n + 1) * side) as f32 / 2.0;
        Place { y: middle(row), x: middle(col), reach: side as f32 }
    }

    fn map(rows: usize, cols: usize, side: usize) -> Vec<Place> {
        (0..rows * cols).map(|n| cell(n / cols, n % cols, side)).collect()
    }

    #[test]
    fn tokens_are_told_by_their_places() {
        let none = || vec![Place::NOWHERE];
        let whole = || vec![Place { y: 16.0, x: 16.0, reach: 32.0 }];
        let grid = GridCard::patches;
        let shifted = TokenOrder::Windows { rows: 2, cols: 2, shift_rows: 1, shift_cols: 1 };
        // As NumPy rolls and cuts them: see `golden/make_windows.py`.
        let windows = [5, 6, 9, 10, 7, 4, 11, 8, 13, 14, 1, 2, 15, 12, 3, 0].map(|n| cell(n / 4, n % 4, 8)).to_vec();
        let mut swapped = map(3, 3, 8);
        swapped.swap(0, 4);
        let cases: [(&str, Vec<Place>, Found); 13] = [
            ("patches", map(4, 6, 8), Found::Grid(grid(4, 6))),
            ("class token", [none(), map(4, 4, 8)].concat(), Found::Grid(GridCard { prefix_tokens: 1, ..grid(4, 4) })),
            (
                "class token that saw all",
                [whole(), map(4, 4, 8)].concat(),
                Found::Grid(GridCard { prefix_tokens: 1, ..grid(4, 4) }),
            ),
            (
                "words around",
                [none(), map(2, 3, 8), none(), none()].concat(),
                Found::Grid(GridCard { prefix_tokens: 1, suffix_tokens: 2, ..grid(2, 3) }),
            ),
            (
                "two scales",
                [map(4, 4, 8), map(2, 2, 16)].concat(),
                Found::Grid(GridCard { suffix_tokens: 4, ..grid(4, 4) }),
            ),
            ("shifted windows", windows, Found::Grid(GridCard { order: shifted, ..grid(4, 4) })),
            (
                "column by column",
                [0, 3, 1, 4, 2, 5].map(|n| cell(n / 3, n % 3, 8)).to_vec(),
                Found::Grid(GridCard {
                    order: TokenOrder::Windows { rows: 2, cols: 1, shift_rows: 0, shift_cols: 0 },
                    ..grid(2, 3)
                }),
            ),
            ("one row", map(1, 7, 8), Found::Grid(grid(1, 7))),
            ("queries", [whole(), whole(), whole()].concat(), Found::Unplaced(3)),
            ("words alone", [none(), none()].concat(), Found::Unplaced(2)),
            ("one", whole(), Found::Image),
            ("an order of its own", swapped, Found::Unclear(9)),
            ("with holes", map(3, 3, 8)[..8].to_vec(), Found::Unclear(8)),
        ];
        for (name, tokens, expected) in cases {
            assert_eq!(lie(&tokens), expected, "{name}");
        }
    }
}
