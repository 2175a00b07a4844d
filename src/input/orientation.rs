//! Turns and mirrors pixels as EXIF asks for. Photos of phones need it, and they are large: the general functions of
//! `image` take longer for it than decoding does.

use image::metadata::Orientation;

/// Where the pixels of the upright image stand in the stored one: index of the upper left pixel, and how far it is from
/// one pixel to the next along a row and down a column.
struct Walk {
    start: usize,
    right: isize,
    down: isize,
}

impl Walk {
    fn new(orientation: Orientation, [width, height]: [usize; 2]) -> Self {
        let row = width.cast_signed();
        let (right_edge, bottom_edge) = (width - 1, (height - 1) * width);
        let (start, right, down) = match orientation {
            Orientation::NoTransforms => (0, 1, row),
            Orientation::FlipHorizontal => (right_edge, -1, row),
            Orientation::FlipVertical => (bottom_edge, 1, -row),
            Orientation::Rotate180 => (bottom_edge + right_edge, -1, -row),
            Orientation::Rotate90 => (bottom_edge, -row, 1),
            Orientation::Rotate270 => (right_edge, row, -1),
            Orientation::Rotate90FlipH => (0, row, 1),
            Orientation::Rotate270FlipH => (bottom_edge + right_edge, -row, -1),
        };
        Self { start, right, down }
    }
}

/// Size of the upright image.
pub(super) fn upright_size(orientation: Orientation, [width, height]: [u32; 2]) -> [u32; 2] {
    match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            [height, width]
        }
        Orientation::NoTransforms
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical
        | Orientation::Rotate180 => [width, height],
    }
}

/// Writes the upright image, of [`upright_size`], from the stored one; both RGBA.
pub(super) fn write_upright(orientation: Orientation, size: [u32; 2], stored: &[u8], upright: &mut [u8]) {
    // A square of pixels whose rows fill a cache line in both images: a turned row is a column of the other.
    const TILE: usize = 16;
    let walk = Walk::new(orientation, size.map(|side| side as usize));
    let [width, height] = upright_size(orientation, size).map(|side| side as usize);
    let (stored, upright) = (stored.as_chunks::<4>().0, upright.as_chunks_mut::<4>().0);
    let tiles = (0..height).step_by(TILE).flat_map(|top| (0..width).step_by(TILE).map(move |left| (left, top)));
    for (left, top) in tiles {
        for y in top..(top + TILE).min(height) {
            let row_start = walk.start.wrapping_add_signed(y.cast_signed() * walk.down);
            for x in left..(left + TILE).min(width) {
                upright[y * width + x] = stored[row_start.wrapping_add_signed(x.cast_signed() * walk.right)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::DynamicImage;

    #[test]
    fn agrees_with_the_general_functions() {
        for (width, height) in [(1, 1), (37, 23), (16, 33)] {
            let stored = image::RgbaImage::from_fn(width, height, |x, y| image::Rgba([x as u8, y as u8, 7, 255]));
            for orientation in (1..=8).filter_map(Orientation::from_exif) {
                let mut expected = DynamicImage::ImageRgba8(stored.clone());
                expected.apply_orientation(orientation);
                let mut upright = vec![0; stored.len()];
                write_upright(orientation, [width, height], &stored, &mut upright);
                let [upright_width, upright_height] = upright_size(orientation, [width, height]);
                assert_eq!((upright_width, upright_height), (expected.width(), expected.height()), "{orientation:?}");
                assert!(upright == expected.as_bytes(), "{orientation:?} of {width} × {height}");
            }
        }
    }
}
