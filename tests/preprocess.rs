//! Decoding and preprocessing against Pillow: the pictures in `golden/preprocess` are made by `golden/make_preprocess.py`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::input::{DecodedImage, ImageSource, decode_bytes, decode_file, preprocess};
use moescope::model::{Channels, CropRule, InputCard, InputElement, Layout, ResizeCard, ResizeFilter, ResizeRule};
use proptest::prelude::*;
use std::path::{Path, PathBuf};

#[test]
fn scaling_and_cropping_agree_with_pillow() {
    use ResizeFilter::{Bicubic, Bilinear, Lanczos};
    // As SCALED of make_preprocess.py: name, size of the pattern, [height, width], shorter side, filter.
    let cases = [
        ("down", [301, 199], [64, 64], Some(72), Bicubic),
        ("up", [23, 17], [64, 64], Some(72), Bicubic),
        ("tall-bilinear", [97, 211], [64, 64], Some(64), Bilinear),
        ("lanczos", [150, 101], [48, 64], Some(65), Lanczos),
        ("wide", [900, 7], [64, 64], Some(72), Bicubic),
        ("narrow", [5, 3000], [64, 64], Some(64), Bicubic),
        ("stretch", [120, 51], [64, 48], None, Bicubic),
        ("same", [64, 64], [64, 64], Some(64), Bicubic),
    ];
    for (name, size, input, shorter_side, filter) in cases {
        let golden = golden(&format!("scaled-{name}.png"));
        let levels = levels(&pattern(size), &card(input, shorter_side, filter));
        let (mean, largest) = difference(&levels, &golden);
        assert!(mean <= 0.1 && largest <= 2, "{name}: mean difference {mean} levels, largest {largest}");
    }
}

#[test]
fn letterboxes_agree_with_pillow() {
    // As LETTERBOXED of make_preprocess.py, with what the input shows in pixels of the image: x, y, width, height.
    let cases = [
        ("letterbox-wide", [301, 199], [64, 64], [0.0, -52.1, 301.0, 303.2]),
        ("letterbox-tall", [33, 121], [64, 64], [-44.65, 0.0, 124.2, 121.0]),
        ("letterbox-odd", [200, 91], [48, 80], [0.0, -15.167, 200.0, 121.33]),
        ("letterbox-up", [23, 17], [64, 96], [-1.057, 0.0, 25.38, 17.0]),
        ("letterbox-line", [900, 3], [64, 64], [0.0, -93.0, 900.0, 192.0]),
    ];
    for (name, size, input, seen) in cases {
        let resize = ResizeCard { rule: ResizeRule::LongerSide, size: 1, filter: ResizeFilter::Bilinear };
        let card = InputCard { resize, ..card(input, None, ResizeFilter::Bilinear) };
        let golden = golden(&format!("scaled-{name}.png"));
        let (mean, largest) = difference(&levels(&pattern(size), &card), &golden);
        assert!(mean <= 0.1 && largest <= 2, "{name}: mean difference {mean} levels, largest {largest}");
        let found = preprocess(&pattern(size), &card).unwrap().seen;
        for (found, expected) in [found.x, found.y, found.width, found.height].into_iter().zip(seen) {
            assert!((found - expected).abs() <= 0.06, "{name}: {found} is not {expected}");
        }
    }
}

#[test]
fn every_kind_of_jpeg_agrees_with_pillow() {
    for kind in ["420", "422", "444", "progressive", "restart", "grey", "cmyk", "ycck", "rgb"] {
        let image = decode_file(&golden_path(&format!("decode-{kind}.jpg"))).unwrap();
        let rgb: Vec<u8> = image.rgba.chunks(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        let (mean, largest) = difference(&rgb, &golden(&format!("decode-{kind}.png")));
        assert!(mean <= 0.5 && largest <= 4, "{kind}: mean difference {mean} levels, largest {largest}");
        assert!(image.rgba.chunks(4).all(|pixel| pixel[3] == 255), "{kind}: not opaque");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The crop is found in the image before anything is scaled; no more of that may be seen than rounding, twice.
    #[test]
    fn scaling_the_crop_equals_cropping_what_was_scaled(width in 1_u32..160, height in 1_u32..160, size in 32_u32..80) {
        let image = pattern([width, height]);
        let shorter = f64::from(width.min(height));
        let scaled = |side: u32| ((f64::from(side) * f64::from(size) / shorter).round_ties_even() as u32).max(size);
        let (scaled_width, scaled_height) = (scaled(width), scaled(height));
        let cropped = levels(&image, &card([32, 32], Some(size), ResizeFilter::Bicubic));
        let whole = levels(&image, &card([scaled_height, scaled_width], None, ResizeFilter::Bicubic));
        let (left, top) = ((scaled_width - 32) / 2, (scaled_height - 32) / 2);
        let expected: Vec<u8> = (top..top + 32)
            .flat_map(|y| &whole[((y * scaled_width + left) * 3) as usize..][..32 * 3])
            .copied()
            .collect();
        let (mean, largest) = difference(&cropped, &expected);
        prop_assert!(mean <= 0.1 && largest <= 2, "mean difference {mean}, largest {largest}");
    }

    #[test]
    fn what_the_model_sees_is_a_part_of_the_image(width in 1_u32..400, height in 1_u32..400, size in 32_u32..80) {
        let seen = preprocess(&pattern([width, height]), &card([32, 32], Some(size), ResizeFilter::Bilinear)).unwrap().seen;
        let (width, height) = (width as f32, height as f32);
        prop_assert!(seen.x >= 0.0 && seen.y >= 0.0 && seen.width > 0.0 && seen.height > 0.0, "{seen:?}");
        prop_assert!(seen.x + seen.width <= width * 1.000_001 && seen.y + seen.height <= height * 1.000_001, "{seen:?}");
        // The middle: what is cut on both sides differs by one scaled pixel at most (rounding stretches it a little).
        let scaled_pixel = width.min(height) / size as f32 * 1.02;
        prop_assert!((width - seen.width - 2.0 * seen.x).abs() <= scaled_pixel, "{seen:?}");
        prop_assert!((height - seen.height - 2.0 * seen.y).abs() <= scaled_pixel, "{seen:?}");
    }
}

/// A model's input that keeps bytes as fractions of 255, channels last. Without a shorter side it is stretched.
fn card([height, width]: [u32; 2], shorter_side: Option<u32>, filter: ResizeFilter) -> InputCard {
    let (rule, crop) = match shorter_side {
        Some(_) => (ResizeRule::ShorterSide, CropRule::Center),
        None => (ResizeRule::Stretch, CropRule::None),
    };
    let resize = ResizeCard { rule, size: shorter_side.unwrap_or(width), filter };
    let (mean, std) = ([0.0; 3], [1.0; 3]);
    InputCard {
        name: "pixels".into(),
        layout: Layout::Nhwc,
        height,
        width,
        resize,
        crop,
        mean,
        std,
        pad: InputCard::PAD,
        channels: Channels::Rgb,
        element: InputElement::Float32,
        batch: 1,
    }
}

/// Chirps and edges in whole numbers, the same as `pattern` of make_preprocess.py.
fn pattern([width, height]: [u32; 2]) -> DecodedImage {
    let pixel = |x: u32, y: u32| [(x * x + 3 * y * y) / 16, (x ^ y) * 5, (x / 9 + y / 7) % 2 * 200 + x % 32, 255];
    let rgba = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y).map(|level| level as u8))).collect();
    DecodedImage { source: ImageSource::Clipboard(0), width, height, rgba }
}

/// What the model is fed, as bytes again.
fn levels(image: &DecodedImage, card: &InputCard) -> Vec<u8> {
    preprocess(image, card).unwrap().data.iter().map(|value| (value * 255.0).round() as u8).collect()
}

/// Mean and largest absolute difference in levels of 255.
fn difference(found: &[u8], expected: &[u8]) -> (f64, u8) {
    assert_eq!(found.len(), expected.len());
    let differences = || found.iter().zip(expected).map(|(found, expected)| found.abs_diff(*expected));
    (differences().map(f64::from).sum::<f64>() / found.len() as f64, differences().max().unwrap())
}

/// The RGB bytes of a golden picture.
fn golden(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(golden_path(name)).unwrap();
    let image = decode_bytes(&bytes, ImageSource::Clipboard(0)).unwrap();
    image.rgba.chunks(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preprocess").join(name)
}
