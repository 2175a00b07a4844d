//! JPEG, the format of nearly every photo: decoded straight into the buffer that the program keeps, and refused when
//! any of it is missing.
//!
//! A lenient decoder fills what it cannot read with grey and says nothing, so that a download that broke off would be
//! classified as if it were whole. Headers are read leniently all the same: cameras write odd ones.

use super::decode::{Pixels, check_size};
use super::error::InputError;
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Decodes a whole JPEG file; EXIF orientation is applied.
pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Pixels, InputError> {
    if !is_complete(bytes) {
        return Err(InputError::Truncated { name: name.to_owned() });
    }
    let damaged = |error: DecodeErrors| InputError::damaged(name, &error);
    let mut decoder = read_headers(bytes, ColorSpace::RGBA).map_err(damaged)?;
    // From other colours than these (plain RGB, ink) the decoder makes right RGB, but no or wrong RGBA (zune-jpeg 0.5.15).
    let makes_rgba = matches!(decoder.input_colorspace(), Some(ColorSpace::YCbCr | ColorSpace::Luma));
    if !makes_rgba {
        decoder = read_headers(bytes, ColorSpace::RGB).map_err(damaged)?;
    }
    decoder.set_options(decoder.options().set_strict_mode(true));
    let info = decoder.info().unwrap_or_default();
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size([width, height], name)?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = if makes_rgba {
        Pixels::filled_by(width, height, |buffer| decoder.decode_into(buffer)).map_err(damaged)?
    } else {
        Pixels::from_rgb(width, height, &decoder.decode().map_err(damaged)?)
    };
    Ok(pixels.upright(orientation.unwrap_or(Orientation::NoTransforms)))
}

fn read_headers(bytes: &[u8], colors: ColorSpace) -> Result<JpegDecoder<ZCursor<&[u8]>>, DecodeErrors> {
    // The number of pixels is limited later; either side may be as long as the format allows.
    let options = DecoderOptions::default().set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options.jpeg_set_out_colorspace(colors));
    decoder.decode_headers()?;
    Ok(decoder)
}

/// Whether the file goes on to its end marker.
fn is_complete(bytes: &[u8]) -> bool {
    const START: [u8; 2] = [0xFF, 0xD8];
    let Some(mut rest) = bytes.strip_prefix(&START) else { return false };
    loop {
        let Some((marker, after)) = next_marker(rest) else { return false };
        match marker {
            END => return true,
            // Restart markers and TEM stand alone; every other segment gives its length, that of the length included.
            0x01 | 0xD0..=0xD7 => rest = after,
            _ => {
                let Some(length) = after.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length))) else {
                    return false;
                };
                let Some(next) = after.get(length.max(2)..) else { return false };
                rest = next;
            }
        }
    }
}

const END: u8 = 0xD9;

/// The next marker and what follows it. Within coded data `FF 00` is a plain byte, and `FF` may be repeated as padding.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let at = memchr::memchr(0xFF, rest)?;
        rest = &rest[at + 1..];
        match rest.first()? {
            0x00 | 0xFF => {}
            &marker => return Some((marker, &rest[1..])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    fn jpeg() -> Vec<u8> {
        let picture =
            image::RgbImage::from_fn(40, 24, |x, y| image::Rgb([(x * 6) as u8, (y * 9) as u8, (x * y) as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn every_truncation_is_noticed() {
        let whole = jpeg();
        assert!(is_complete(&whole));
        for length in 0..whole.len() {
            assert!(!is_complete(&whole[..length]), "cut to {length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn bytes_after_the_end_do_no_harm() {
        let mut bytes = jpeg();
        bytes.extend_from_slice(&[0, 0xFF, 1, 2]);
        assert!(is_complete(&bytes));
    }
}
