//! Patches ↔ pixels: the mapping that every picture of the program rests on, by properties; and windowed tokens ↔ patches,
//! against NumPy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::routing::{PatchGrid, PatchIdx, PixelRect, Windows};
use proptest::prelude::*;

/// Grids from one patch to 128 × 128, over crops that lie anywhere in images of up to 20,000 pixels a side; each patch
/// covers at least one pixel, as the models' do after scaling up.
fn grids() -> impl Strategy<Value = PatchGrid> {
    (1..=128_usize, 1..=128_usize, 0_u16..10_000, 0_u16..10_000, 1.0..60_f32, 1.0..60_f32).prop_map(
        |(rows, cols, x, y, patch_width, patch_height)| PatchGrid {
            rows,
            cols,
            seen: PixelRect {
                x: f32::from(x),
                y: f32::from(y),
                width: patch_width * cols as f32,
                height: patch_height * rows as f32,
            },
        },
    )
}

fn grid_and_patch() -> impl Strategy<Value = (PatchGrid, PatchIdx)> {
    (grids(), any::<prop::sample::Index>()).prop_map(|(grid, index)| (grid, PatchIdx(index.index(grid.num_patches()))))
}

proptest! {
    #[test]
    fn every_position_inside_a_patch_belongs_to_it(
        (grid, patch) in grid_and_patch(), across in 0.01..0.99_f32, down in 0.01..0.99_f32,
    ) {
        let rect = grid.pixels_from_patch(patch);
        let (x, y) = (rect.x + across * rect.width, rect.y + down * rect.height);
        prop_assert_eq!(grid.patch_from_pixel(x, y), Some(patch));
    }

    #[test]
    fn row_and_column_round_trip((grid, patch) in grid_and_patch()) {
        let (row, col) = grid.row_col(patch);
        prop_assert!(row < grid.rows && col < grid.cols);
        prop_assert_eq!(grid.patch_at(row, col), Some(patch));
    }

    #[test]
    fn outside_of_what_the_model_saw_there_is_no_patch(grid in grids(), far in 0.5..10_000_f32, along in 0.0..1_f32) {
        let seen = grid.seen;
        let (inside_x, inside_y) = (seen.x + along * seen.width, seen.y + along * seen.height);
        for (x, y) in [
            (seen.x - far, inside_y),
            (seen.x + seen.width + far, inside_y),
            (inside_x, seen.y - far),
            (inside_x, seen.y + seen.height + far),
            (f32::NAN, inside_y),
            (inside_x, f32::INFINITY),
        ] {
            prop_assert_eq!(grid.patch_from_pixel(x, y), None);
        }
    }

    #[test]
    fn the_patches_tile_what_the_model_saw(grid in grids()) {
        let area: f64 = (0..grid.num_patches())
            .map(|patch| grid.pixels_from_patch(PatchIdx(patch)))
            .map(|rect| f64::from(rect.width) * f64::from(rect.height))
            .sum();
        let seen = f64::from(grid.seen.width) * f64::from(grid.seen.height);
        prop_assert!((area / seen - 1.0).abs() < 1e-4);
    }
}

#[test]
fn edges_belong_to_the_right_or_lower_patch_and_empty_grids_have_none() {
    let seen = PixelRect { x: 10.0, y: 20.0, width: 30.0, height: 20.0 };
    let grid = PatchGrid { rows: 2, cols: 3, seen };
    assert_eq!(grid.patch_from_pixel(10.0, 20.0), Some(PatchIdx(0)));
    assert_eq!(grid.patch_from_pixel(20.0, 30.0), Some(PatchIdx(4)));
    assert_eq!(grid.patch_from_pixel(40.0, 30.0), None);
    assert_eq!(PatchGrid { rows: 0, cols: 0, seen }.patch_from_pixel(10.0, 20.0), None);
    let nothing_seen = PixelRect { width: 0.0, height: 0.0, ..seen };
    assert_eq!(PatchGrid { rows: 2, cols: 3, seen: nothing_seen }.patch_from_pixel(11.0, 20.0), None);
}

#[derive(serde::Deserialize)]
struct WindowCase {
    grid: [usize; 2],
    window: [usize; 2],
    shift: [usize; 2],
    patches: Vec<usize>,
}

/// `golden/windows.json` is made by `golden/make_windows.py`: NumPy's roll and Swin's window_partition.
#[test]
fn windowed_tokens_stand_where_numpy_puts_them() {
    let cases: Vec<WindowCase> = serde_json::from_str(include_str!("golden/windows.json")).unwrap();
    assert_eq!(cases.len(), 9);
    for WindowCase { grid, window, shift, patches } in cases {
        let windows = Windows { rows: window[0], cols: window[1], shift_rows: shift[0], shift_cols: shift[1] };
        let found: Vec<usize> = windows.patches(grid[0], grid[1]).unwrap().iter().map(|patch| patch.0).collect();
        assert_eq!(found, patches, "{grid:?} {windows:?}");
        // Two values per token: its patch, and that of the whole.
        let tokens: Vec<(usize, char)> = patches.iter().flat_map(|&patch| [(patch, 'a'), (patch, 'b')]).collect();
        let expected: Vec<(usize, char)> = (0..patches.len()).flat_map(|patch| [(patch, 'a'), (patch, 'b')]).collect();
        assert_eq!(windows.to_row_major(&tokens, 2, grid).unwrap(), expected, "{grid:?} {windows:?}");
    }
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let windows = |rows, cols| Windows { rows, cols, shift_rows: 0, shift_cols: 0 };
    for (rows, cols) in [(3, 2), (2, 3), (0, 2), (2, 0)] {
        assert_eq!(windows(rows, cols).patches(4, 4), None, "{rows} × {cols}");
    }
    assert_eq!(windows(2, 2).to_row_major(&[0; 15], 1, [4, 4]), None);
    assert_eq!(windows(2, 2).to_row_major(&[0; 0], 0, [4, 4]), None);
}

proptest! {
    /// Every patch has one token, whatever the windows and the shift.
    #[test]
    fn windows_are_a_permutation(
        (high, wide, down, across) in (1..=6_usize, 1..=6_usize, 1..=6_usize, 1..=6_usize),
        shift_rows in 0..40_usize, shift_cols in 0..40_usize,
    ) {
        let (rows, cols) = (high * down, wide * across);
        let windows = Windows { rows: high, cols: wide, shift_rows: shift_rows % rows, shift_cols: shift_cols % cols };
        let mut patches: Vec<usize> = windows.patches(rows, cols).unwrap().iter().map(|patch| patch.0).collect();
        prop_assert_eq!(patches[0], windows.shift_rows * cols + windows.shift_cols);
        patches.sort_unstable();
        prop_assert!(patches.into_iter().eq(0..rows * cols));
    }
}
