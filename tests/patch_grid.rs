//! Patches ↔ pixels: the mapping that every picture of the program rests on, by properties.

use moescope::routing::{PatchGrid, PatchIdx, PixelRect};
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
