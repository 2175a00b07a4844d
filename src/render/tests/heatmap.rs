//! The heatmap's pixels.

use super::*;
use crate::render::expert_color;

#[test]
fn every_pixel_of_a_patch_has_its_experts_color() {
    let picture = draw(&Routing::default(), plain(FIRST_CHOICE));
    for (x, y, pixel) in picture.enumerate_pixels() {
        let patch = (y / 16) * 4 + x / 16;
        assert_eq!(pixel.0[..3], expert_color(patch % 3), "pixel {x}, {y}");
    }
}
