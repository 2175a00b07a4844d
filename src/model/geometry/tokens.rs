//! From the places of a router's tokens to what the card says of them: prefix, grid, order, suffix.

use super::places::{Place, Places};
use crate::model::{GridCard, TokenLayout, TokenOrder};
use crate::routing::Windows;
use std::ops::Range;

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
    let Some(walk) = walk(&tokens) else { return unplaced(count) };
    let (prefix_tokens, suffix_tokens) = (walk.start, count - walk.end);
    let walked = &tokens[walk];
    let patches: Vec<Place> = walked.iter().copied().filter(|place| place.is_somewhere()).collect();
    if patches.iter().all(|place| *place == patches[0]) {
        return unplaced(count);
    }
    let (ys, xs) = (distinct(patches.iter().map(|place| place.y)), distinct(patches.iter().map(|place| place.x)));
    let (rows, cols) = (ys.len(), xs.len());
    let at = |values: &[f32], value: f32| values.partition_point(|&known| known < value - NEAR);
    let cell = |place: &Place| place.is_somewhere().then(|| at(&ys, place.y) * cols + at(&xs, place.x));
    let cells: Vec<Option<usize>> = walked.iter().map(cell).collect();
    // Tokens inside the walk that are neither patches nor padding mean something that is not known here.
    let is_known = walked.iter().all(|place| place.is_somewhere() || *place == Place::PADDING);
    match order(cells, rows, cols).filter(|_| is_known) {
        Some(order) => Found::Grid(GridCard { rows, cols, prefix_tokens, suffix_tokens, order }),
        None => Found::Unclear(count),
    }
}

/// The tokens from the first patch to the last one; where others lie between, with the padding before and behind them.
fn walk(tokens: &[Place]) -> Option<Range<usize>> {
    let ends = |is_in: fn(&Place) -> bool| Some(tokens.iter().position(is_in)?..tokens.iter().rposition(is_in)? + 1);
    let patches = ends(|place| place.is_somewhere())?;
    let is_whole = tokens[patches.clone()].iter().all(|place| place.is_somewhere());
    if is_whole { Some(patches) } else { ends(|place| place.is_somewhere() || *place == Place::PADDING) }
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

/// Walks over larger grids are told only where they are row by row.
const MAX_WALKED: usize = 1 << 16;

/// The order in which tokens walk over the cells of a grid; none is in the cell of a token that is padding. `None` where
/// they do not come to every cell once.
fn order(cells: Vec<Option<usize>>, rows: usize, cols: usize) -> Option<TokenOrder> {
    if cells.iter().copied().eq((0..rows * cols).map(Some)) {
        return Some(TokenOrder::RowMajor);
    }
    if cells.len() > MAX_WALKED {
        return None;
    }
    let mut visited = vec![false; rows * cols];
    let is_new = |&cell: &usize| !std::mem::replace(&mut visited[cell], true);
    if !cells.iter().flatten().all(is_new) || visited.contains(&false) {
        return None;
    }
    let whole: Option<Vec<usize>> = cells.iter().copied().collect();
    Some(whole.and_then(|cells| windows(&cells, rows, cols)).unwrap_or(TokenOrder::Listed(cells)))
}

/// Shifted windows that give these cells.
fn windows(cells: &[usize], rows: usize, cols: usize) -> Option<TokenOrder> {
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
        let padding = |count: usize| vec![Place::PADDING; count];
        let whole = || vec![Place { y: 16.0, x: 16.0, reach: 32.0 }];
        let grid = GridCard::patches;
        let shifted = TokenOrder::Windows { rows: 2, cols: 2, shift_rows: 1, shift_cols: 1 };
        // As NumPy rolls and cuts them: see `golden/make_windows.py`.
        let windows = [5, 6, 9, 10, 7, 4, 11, 8, 13, 14, 1, 2, 15, 12, 3, 0].map(|n| cell(n / 4, n % 4, 8)).to_vec();
        let mut swapped = map(3, 3, 8);
        swapped.swap(0, 4);
        // Four windows of 2 × 2 on a grid of 3 × 3 that was padded on the right and below.
        let padded = [Some(0), Some(1), Some(3), Some(4), Some(2), None, Some(5), None, Some(6), Some(7), None, None]
            .into_iter()
            .chain([Some(8), None, None, None]);
        let padded: Vec<Option<usize>> = padded.collect();
        let on_grid = |cell_of: &Option<usize>| cell_of.map_or(Place::PADDING, |n| cell(n / 3, n % 3, 8));
        let listed = |cells: &[usize]| TokenOrder::Listed(cells.iter().copied().map(Some).collect());
        // Groups of 2 × 2 patches that lie two rows and three columns apart.
        let apart = [0, 3, 12, 15, 1, 4, 13, 16, 2, 5, 14, 17, 6, 9, 18, 21, 7, 10, 19, 22, 8, 11, 20, 23];
        let cases: [(&str, Vec<Place>, Found); 18] = [
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
            (
                "an order of its own",
                swapped,
                Found::Grid(GridCard { order: listed(&[4, 1, 2, 3, 0, 5, 6, 7, 8]), ..grid(3, 3) }),
            ),
            (
                "patches that lie apart",
                apart.map(|n| cell(n / 6, n % 6, 8)).to_vec(),
                Found::Grid(GridCard { order: listed(&apart), ..grid(4, 6) }),
            ),
            (
                "padded windows behind a class token",
                none().into_iter().chain(padded.iter().map(on_grid)).collect(),
                Found::Grid(GridCard { prefix_tokens: 1, order: TokenOrder::Listed(padded), ..grid(3, 3) }),
            ),
            (
                "padded to a full group",
                [map(2, 3, 8), padding(2)].concat(),
                Found::Grid(GridCard { suffix_tokens: 2, ..grid(2, 3) }),
            ),
            ("words between", [map(1, 3, 8), none(), map(1, 3, 8)].concat(), Found::Unclear(7)),
            ("one patch twice", [map(3, 3, 8), vec![cell(1, 1, 8)]].concat(), Found::Unclear(10)),
            ("with holes", map(3, 3, 8)[..8].to_vec(), Found::Unclear(8)),
        ];
        for (name, tokens, expected) in cases {
            assert_eq!(lie(&tokens), expected, "{name}");
        }
    }
}
