//! From a file to upright 8-bit pixels, within strict limits and never partly.

use super::error::InputError;
use super::orientation::{upright_size, write_upright};
use super::samples::SAMPLES;
use super::{DecodedImage, ImageSource, jpeg, sniff};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

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

/// Decodes an image: the first frame, EXIF orientation applied, 8 bits per channel, straight alpha. Colour profiles are
/// not applied: models were trained on pixels as they stand in the file.
///
/// # Errors
/// [`InputError`] with the source's name in its text; never a partly decoded image.
pub fn decode_bytes(bytes: &[u8], source: ImageSource) -> Result<DecodedImage, InputError> {
    let name = source.name();
    if bytes.is_empty() {
        return Err(InputError::Empty { name });
    }
    let pixels = match format(bytes, &source)? {
        ImageFormat::Jpeg => jpeg::decode(bytes, &name)?,
        format => decode_as(format, bytes, &name)?,
    };
    Ok(DecodedImage { source, width: pixels.width, height: pixels.height, rgba: pixels.rgba })
}

/// The format by the first bytes. Only TGA has no mark of its own, so that there the file's name must tell it.
fn format(bytes: &[u8], source: &ImageSource) -> Result<ImageFormat, InputError> {
    let extension = match source {
        ImageSource::File(path) => path.extension().and_then(|extension| extension.to_str()).unwrap_or_default(),
        ImageSource::Sample(_) | ImageSource::Clipboard(_) => "",
    };
    let not_an_image =
        |sniff::Guess { looks_like, remedy }| InputError::NotAnImage { name: source.name(), looks_like, remedy };
    match image::guess_format(bytes) {
        // Most cameras' raw files are TIFF files whose first image is a small preview.
        Ok(ImageFormat::Tiff) if sniff::is_camera_raw(bytes) => Err(not_an_image(sniff::CAMERA_RAW)),
        Ok(format) if format.reading_enabled() => Ok(format),
        _ if extension.eq_ignore_ascii_case("tga") => Ok(ImageFormat::Tga),
        _ => Err(not_an_image(sniff::guess(bytes))),
    }
}

fn decode_as(format: ImageFormat, bytes: &[u8], name: &str) -> Result<Pixels, InputError> {
    let damaged = |error: ImageError| damaged(name, &error);
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(damaged)?;
    check_size(decoder.dimensions().into(), name)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    // The decoder itself only limits what it needs besides the pixels.
    limits.reserve(decoder.total_bytes()).map_err(damaged)?;
    decoder.set_limits(limits).map_err(damaged)?;
    // An image whose metadata cannot be read is upright as far as anyone knows.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok(Pixels::from(image).upright(orientation))
}

/// Refuses an image that has no pixels or too many.
pub(super) fn check_size([width, height]: [u32; 2], name: &str) -> Result<(), InputError> {
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
    match error {
        ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            InputError::Truncated { name: name.to_owned() }
        }
        error => InputError::damaged(name, error),
    }
}

/// The pixels of a [`DecodedImage`].
pub(super) struct Pixels {
    width: u32,
    height: u32,
    rgba: Arc<[u8]>,
}

impl Pixels {
    /// Allocates the buffer once, where it stays, and lets a decoder write into it.
    pub(super) fn filled_by<E>(
        width: u32,
        height: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut rgba = zeroed(width as usize * height as usize * 4);
        fill(Arc::make_mut(&mut rgba))?;
        Ok(Self { width, height, rgba })
    }

    /// Opaque pixels of `width × height × 3` bytes.
    pub(super) fn from_rgb(width: u32, height: u32, rgb: &[u8]) -> Self {
        let rgba = rgb.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect();
        Self { width, height, rgba }
    }

    /// Applies the orientation that the file asks for.
    pub(super) fn upright(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let size = [self.width, self.height];
        let [width, height] = upright_size(orientation, size);
        let mut rgba = zeroed(self.rgba.len());
        write_upright(orientation, size, &self.rgba, Arc::make_mut(&mut rgba));
        Self { width, height, rgba }
    }
}

/// A buffer that is written where it stays.
fn zeroed(length: usize) -> Arc<[u8]> {
    std::iter::repeat_n(0, length).collect()
}

impl From<DynamicImage> for Pixels {
    fn from(image: DynamicImage) -> Self {
        let (width, height) = (image.width(), image.height());
        match image {
            // The general conversion is several times slower, and most photos are RGB.
            DynamicImage::ImageRgb8(rgb) => Self::from_rgb(width, height, &rgb),
            other => Self { width, height, rgba: other.into_rgba8().into_raw().into() },
        }
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
