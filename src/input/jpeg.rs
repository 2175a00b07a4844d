//! Whether a JPEG file has its end. The decoder fills what is missing with grey and says nothing, so that a download
//! that broke off would be classified as if it were whole.

/// Walks the markers up to the end of the image.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
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
        let at = rest.iter().position(|&byte| byte == 0xFF)?;
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
