//! Files as they come in practice: broken off, misnamed, rotated, of unusual kinds. Each is either shown whole and
//! upright or refused in one line that names it; nothing panics, and nothing is shown in part.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat};
use moescope::input::{DecodedImage, ImageSource, InputError, SAMPLES, decode_bytes, decode_file, decode_sample};
use proptest::prelude::*;
use proptest::sample::Index;
use std::io::Cursor;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sample_that_is_cut_is_refused(sample in 0..SAMPLES.len(), length in any::<Index>()) {
        let bytes = SAMPLES[sample].bytes;
        let error = decoded(&bytes[..length.index(bytes.len())]).unwrap_err();
        prop_assert!(!matches!(error, InputError::TooLarge { .. }), "{error}");
        prop_assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn arbitrary_bytes_never_panic(magic in 0..MAGICS.len(), rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [MAGICS[magic], &rest].concat();
        if let Err(error) = decoded(&bytes) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

const MAGICS: &[&[u8]] = &[
    b"",
    b"\xFF\xD8\xFF",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"P6 9 9 255\n",
];

#[test]
fn cut_files_of_every_format_are_refused() {
    let photo = image::RgbImage::from_fn(61, 47, |x, y| image::Rgb([(x * 4) as u8, (y * 5) as u8, (x * y) as u8]));
    let formats = [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    for format in formats {
        let mut whole = Cursor::new(Vec::new());
        photo.write_to(&mut whole, format).unwrap();
        let whole = whole.into_inner();
        for share in 1..10 {
            let error = decoded(&whole[..whole.len() * share / 10]).unwrap_err();
            assert!(!error.to_string().contains('\n'), "{format:?}: {error}");
        }
    }
}

#[test]
fn jpeg_orientations_are_applied_once() {
    // Where the upper left corner of the stored picture ends up, and whether the sides are swapped, by orientation.
    let (left, right, top, bottom) = (0, 1, 0, 1);
    let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
    let swapped = [(left, top), (right, top), (right, bottom), (left, bottom)];
    for (orientation, (x, y)) in (1_u8..).zip(corners.into_iter().chain(swapped)) {
        for big_endian in [false, true] {
            let image = decoded(&with_orientation(&marked_jpeg(), orientation, big_endian)).unwrap();
            let upright = orientation <= 4;
            assert_eq!((image.width, image.height), if upright { (48, 32) } else { (32, 48) }, "{orientation}");
            let at = [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().filter(|&(x, y)| is_red(&image, x, y));
            assert_eq!(at.collect::<Vec<_>>(), [(x, y)], "orientation {orientation}");
        }
    }
}

#[test]
fn an_unknown_orientation_is_upright() {
    let image = decoded(&with_orientation(&marked_jpeg(), 9, false)).unwrap();
    assert_eq!((image.width, image.height), (48, 32));
}

#[test]
fn the_content_tells_the_format_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.png");
    std::fs::write(&path, SAMPLES[0].bytes).unwrap();
    assert_eq!(decode_file(&path).unwrap().rgba, decode_sample(SAMPLES[0].id).unwrap().rgba);
}

#[test]
fn tga_is_known_by_its_name() {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7])).write_to(&mut bytes, ImageFormat::Tga).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.TGA");
    std::fs::write(&path, bytes.get_ref()).unwrap();
    assert_eq!(decode_file(&path).unwrap().rgba[..4], [9, 8, 7, 255]);
    std::fs::write(&path, &bytes.get_ref()[..20]).unwrap();
    assert!(matches!(decode_file(&path), Err(InputError::Truncated { .. })));
}

#[test]
fn every_pixel_format_becomes_8_bit_rgba() {
    let cases: &[(DynamicImage, [u8; 4])] = &[
        (DynamicImage::ImageLuma8(image::ImageBuffer::from_pixel(2, 2, image::Luma([90]))), [90, 90, 90, 255]),
        (DynamicImage::ImageLumaA8(image::ImageBuffer::from_pixel(2, 2, image::LumaA([90, 7]))), [90, 90, 90, 7]),
        (DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(2, 2, image::Luma([257 * 90]))), [90, 90, 90, 255]),
        (
            DynamicImage::ImageRgb16(image::ImageBuffer::from_pixel(2, 2, image::Rgb([0, 25700, 65535]))),
            [0, 100, 255, 255],
        ),
        (DynamicImage::ImageRgba8(image::ImageBuffer::from_pixel(2, 2, image::Rgba([1, 2, 3, 4]))), [1, 2, 3, 4]),
    ];
    for (picture, expected) in cases {
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, ImageFormat::Png).unwrap();
        assert_eq!(decoded(png.get_ref()).unwrap().rgba[..4], expected[..], "{:?}", picture.color());
    }
}

#[test]
fn the_first_frame_of_an_animation_is_shown() {
    let mut bytes = Vec::new();
    let frame = |pixel| image::Frame::new(image::RgbaImage::from_pixel(4, 3, image::Rgba(pixel)));
    let frames = [frame([255, 0, 0, 255]), frame([0, 0, 255, 255])];
    image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
    assert_eq!(decoded(&bytes).unwrap().rgba[..4], [255, 0, 0, 255]);
}

#[test]
fn long_thin_and_tiny_images_decode() {
    for (width, height) in [(20_000, 50), (1, 1), (1, 30_000), (65_000, 2)] {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let mut bytes = Cursor::new(Vec::new());
            image::GrayImage::from_pixel(width, height, image::Luma([70])).write_to(&mut bytes, format).unwrap();
            let image = decoded(bytes.get_ref()).unwrap();
            assert_eq!((image.width, image.height), (width, height), "{format:?}");
        }
    }
}

#[test]
fn a_png_bomb_is_refused_at_once() {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    encoder.write_image(&vec![0; 12_000 * 12_000], 12_000, 12_000, ExtendedColorType::L8).unwrap();
    assert!(bytes.len() < 1_000_000);
    let error = decoded(&bytes).unwrap_err();
    assert!(matches!(error, InputError::TooLarge { width: 12_000, height: 12_000, .. }), "{error}");
}

#[test]
fn a_raw_file_is_not_shown_as_its_preview() {
    // A TIFF directory of one entry: NewSubfileType 1, or a DNG version.
    for entry in [[254, 0, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0], [0x12, 0xC6, 1, 0, 4, 0, 0, 0, 1, 4, 0, 0]] {
        let bytes = [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]].concat();
        let message = decoded(&bytes).unwrap_err().to_string();
        assert!(message.contains("a camera's raw file") && message.contains("develop it"), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_and_a_device_do_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), std::path::Path::new("/dev/zero")] {
        assert!(matches!(decode_file(path), Err(InputError::NotAFile { .. })), "{}", path.display());
    }
}

fn decoded(bytes: &[u8]) -> Result<DecodedImage, InputError> {
    decode_bytes(bytes, ImageSource::File("photo".into()))
}

/// 48 × 32, grey, with a red upper left quarter.
fn marked_jpeg() -> Vec<u8> {
    let red = |x, y| x < 24 && y < 16;
    let picture = image::RgbImage::from_fn(48, 32, |x, y| image::Rgb(if red(x, y) { [220, 0, 0] } else { [128; 3] }));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Whether a quarter of the image is red: column and row are 0 or 1.
fn is_red(image: &DecodedImage, column: u32, row: u32) -> bool {
    let (x, y) = (image.width * (1 + 2 * column) / 4, image.height * (1 + 2 * row) / 4);
    let pixel = &image.rgba[((y * image.width + x) * 4) as usize..][..3];
    pixel[0] > 180 && pixel[1] < 60
}

/// Puts an EXIF segment with only an orientation behind the start marker.
fn with_orientation(jpeg: &[u8], orientation: u8, big_endian: bool) -> Vec<u8> {
    let tiff: Vec<u8> = if big_endian {
        [&b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat()
    } else {
        [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation], &[0; 7]].concat()
    };
    let exif = [b"Exif\0\0", &tiff[..]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}
