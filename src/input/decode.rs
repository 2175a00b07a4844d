//! From a file to upright 8-bit pixels, within strict limits and never partly.

use super::error::InputError;
use super::samples::SAMPLES;
use super::{DecodedImage, ImageSource, jpeg, sniff};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::io::{Cursor, Read};
use std::path::Path;

/// The most pixels that an image may have: 128 Mi, which are 512 MiB as RGBA.
pub const MAX_PIXELS: u64 = 128 << 20;
/// The most bytes that a decoder may ask for, 16-bit RGBA of the largest image.
const MAX_DECODED_BYTES: u64 = MAX_PIXELS * 8;
/// A larger file cannot hold an image within the limits.
const MAX_FILE_BYTES: u64 = MAX_DECODED_BYTES;

/// Reads and decodes an image file; its format is told by its bytes, not by its name.
///
/// # Errors
/// [`InputError`] with the path in its text; never a partly decoded image.
pub fn decode_file(path: &Path) -> Result<DecodedImage, InputError> {
    let name = || path.display().to_string();
    let unreadable = |error: std::io::Error| InputError::Unreadable { name: name(), reason: error.kind().to_string() };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(InputError::Folder { name: name() });
    }
    if !metadata.is_file() {
        return Err(InputError::NotAFile { name: name() });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_FILE_BYTES)).unwrap_or(0));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    decode_bytes(&bytes, ImageSource::File(path.to_owned()))
}

/// Decodes a sample that is built in.
///
/// # Errors
/// [`InputError::Unreadable`] when there is no sample of that identifier.
pub fn decode_sample(id: &'static str) -> Result<DecodedImage, InputError> {
    let sample = SAMPLES.iter().find(|sample| sample.id == id).ok_or_else(|| InputError::Unreadable {
        name: format!("sample {id}"),
        reason: "there is no such sample".to_owned(),
    })?;
    decode_bytes(sample.bytes, ImageSource::Sample(id))
}

/// Decodes an image: the first frame, EXIF orientation applied, 8 bits per channel, straight alpha.
///
/// # Errors
/// [`InputError`] with the source's name in its text; never a partly decoded image.
pub fn decode_bytes(bytes: &[u8], source: ImageSource) -> Result<DecodedImage, InputError> {
    let name = source.name();
    if bytes.is_empty() {
        return Err(InputError::Empty { name });
    }
    let decoded = decode(bytes, &name)?;
    let rgba = into_rgba(decoded);
    let (width, height) = rgba.dimensions();
    Ok(DecodedImage { source, width, height, rgba: rgba.into_raw().into() })
}

fn decode(bytes: &[u8], name: &str) -> Result<DynamicImage, InputError> {
    let damaged = |error: ImageError| damaged(name, &error);
    let unreadable =
        |error: std::io::Error| InputError::Unreadable { name: name.to_owned(), reason: error.to_string() };
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(unreadable)?;
    let Some(format) = reader.format() else {
        let sniff::Guess { looks_like, remedy } = sniff::guess(bytes);
        return Err(InputError::NotAnImage { name: name.to_owned(), looks_like, remedy });
    };
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        return Err(InputError::Truncated { name: name.to_owned() });
    }
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    check_size(&decoder, name)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    // The decoder itself only limits what it needs besides the pixels.
    limits.reserve(decoder.total_bytes()).map_err(damaged)?;
    decoder.set_limits(limits).map_err(damaged)?;
    // An image whose metadata cannot be read is upright as far as anyone knows.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn check_size(decoder: &impl ImageDecoder, name: &str) -> Result<(), InputError> {
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(InputError::Damaged { name: name.to_owned(), reason: "it has no pixels".to_owned() });
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let max_megapixels = MAX_PIXELS / 1_000_000;
        return Err(InputError::TooLarge { name: name.to_owned(), width, height, max_megapixels });
    }
    Ok(())
}

fn damaged(name: &str, error: &ImageError) -> InputError {
    if let ImageError::IoError(io) = error
        && io.kind() == std::io::ErrorKind::UnexpectedEof
    {
        return InputError::Truncated { name: name.to_owned() };
    }
    // Some decoders' words run over several lines.
    let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    InputError::Damaged { name: name.to_owned(), reason }
}

/// Most photos are RGB: expanding them here is several times faster than the general conversion.
fn into_rgba(image: DynamicImage) -> image::RgbaImage {
    match image {
        DynamicImage::ImageRgb8(rgb) => {
            let (width, height) = rgb.dimensions();
            let pixels = rgb.as_raw().as_chunks::<3>().0;
            let rgba: Vec<u8> = pixels.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect();
            image::RgbaImage::from_raw(width, height, rgba).unwrap_or_else(|| DynamicImage::ImageRgb8(rgb).into_rgba8())
        }
        other => other.into_rgba8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(37, 23, |x, y| image::Rgb([(x * 6) as u8, (y * 9) as u8, 40]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(bytes: &[u8]) -> Result<DecodedImage, InputError> {
        decode_bytes(bytes, ImageSource::File("x".into()))
    }

    #[test]
    fn lossless_formats_give_back_every_pixel() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm] {
            let image = decoded(&encoded(format)).unwrap();
            assert_eq!((image.width, image.height), (37, 23), "{format:?}");
            let pixel = |x: usize, y: usize| &image.rgba[(y * 37 + x) * 4..][..4];
            assert_eq!((pixel(0, 0), pixel(36, 22)), (&[0, 0, 40, 255][..], &[216, 198, 40, 255][..]), "{format:?}");
        }
    }

    #[test]
    fn no_truncation_gives_part_of_a_picture() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp] {
            let whole = encoded(format);
            let pixels = decoded(&whole).unwrap().rgba;
            for length in 0..whole.len() {
                if let Ok(image) = decoded(&whole[..length]) {
                    assert_eq!(image.rgba, pixels, "{format:?} cut to {length} of {} bytes", whole.len());
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decoded() {
        let mut header = b"P5 60000 60000 255\n".to_vec();
        header.extend_from_slice(&[0; 100]);
        let error = decoded(&header).unwrap_err();
        assert!(matches!(error, InputError::TooLarge { width: 60000, height: 60000, .. }), "{error}");
    }

    #[test]
    fn bad_files_are_named_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let cases = [
            (folder.path().to_owned(), "is a folder"),
            (folder.path().join("missing.png"), "cannot be read (entity not found)"),
            (file("empty.png", b""), "is empty"),
            (file("text.jpg", b"hello"), "looks like text"),
            (file("cut.jpg", &encoded(ImageFormat::Jpeg)[..200]), "is cut off"),
            (file("cut.png", &encoded(ImageFormat::Png)[..60]), "is cut off"),
        ];
        for (path, expected) in cases {
            let message = decode_file(&path).unwrap_err().to_string();
            assert!(message.starts_with(&path.display().to_string()), "{message}");
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn every_exif_orientation_ends_upright() {
        // A 2 × 1 picture, red on the left; where the red pixel and the size end up, by orientation 1 to 8.
        let expected = [(2, 1, 0), (2, 1, 1), (2, 1, 1), (2, 1, 0), (1, 2, 0), (1, 2, 0), (1, 2, 1), (1, 2, 1)];
        for (orientation, (width, height, red_at)) in (1_u8..).zip(expected) {
            let image = decoded(&tiff_with_orientation(orientation)).unwrap();
            assert_eq!((image.width, image.height), (width, height), "orientation {orientation}");
            let red = image.rgba.chunks(4).position(|pixel| pixel[0] > 200).unwrap();
            assert_eq!(red, red_at, "orientation {orientation}");
        }
    }

    /// An uncompressed 2 × 1 RGB TIFF, red then black, with an orientation tag.
    fn tiff_with_orientation(orientation: u8) -> Vec<u8> {
        let entries: [(u16, u16, u32, u32); 10] = [
            (256, 3, 1, 2),
            (257, 3, 1, 1),
            (258, 3, 3, 134),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, 140),
            (274, 3, 1, u32::from(orientation)),
            (277, 3, 1, 3),
            (278, 3, 1, 1),
            (279, 4, 1, 6),
        ];
        let mut bytes = b"II*\0\x08\0\0\0".to_vec();
        bytes.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        assert_eq!(bytes.len(), 134);
        bytes.extend([8, 0, 8, 0, 8, 0]);
        bytes.extend([255, 0, 0, 0, 0, 0]);
        bytes
    }
}
