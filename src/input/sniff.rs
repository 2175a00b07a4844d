//! What a file that is no image looks like, by its first bytes, and the step that helps.

/// What it looks like, and what to do.
pub(super) struct Guess {
    pub(super) looks_like: &'static str,
    pub(super) remedy: &'static str,
}

const CONVERT: &str = "convert it to JPEG or PNG first";
/// The raw data of a camera's sensor.
pub(super) const CAMERA_RAW: Guess =
    Guess { looks_like: "a camera's raw file", remedy: "develop it to JPEG or PNG first" };
const DOWNLOAD_AGAIN: &str = "download the image itself";

/// Names a file that the decoder does not know.
pub(super) fn guess(bytes: &[u8]) -> Guess {
    let guess = |looks_like, remedy| Guess { looks_like, remedy };
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let brand = bytes.get(4..12).unwrap_or_default();
    match brand {
        b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftypheim" | b"ftyphevc" => return guess("HEIC", CONVERT),
        b"ftypavif" | b"ftypavis" => return guess("AVIF", CONVERT),
        b"ftypcrx " => return CAMERA_RAW,
        _ if brand.starts_with(b"ftyp") => return guess("a film", "save one of its frames as a picture first"),
        _ => {}
    }
    if starts(b"version https://git-lfs") {
        return guess("a Git LFS pointer", "run `git lfs pull` to fetch the file that it points to");
    }
    if starts(b"%PDF") {
        return guess("a PDF document", "export the page as a picture first");
    }
    if starts(b"PK\x03\x04") {
        return guess("a zip archive", "unpack it and open the images in it");
    }
    if starts(b"\x08") && bytes.windows(4).take(64).any(|window| window == b"onnx" || window == b"torc") {
        return guess("an ONNX model", "open it with File → Open a model… or --model");
    }
    if starts(b"\xFF\x0A") || starts(b"\0\0\0\x0CJXL ") {
        return guess("JPEG XL", CONVERT);
    }
    if starts(b"FUJIFILMCCD-RAW") || starts(b"IIRO") || starts(b"IIRS") || starts(b"MMOR") || starts(b"IIU\0") {
        return CAMERA_RAW;
    }
    if starts(b"8BPS") {
        return guess("a Photoshop file", CONVERT);
    }
    text(bytes).unwrap_or(guess("none of the formats known here", "use JPEG, PNG, WebP, GIF, BMP, TIFF, TGA or PNM"))
}

/// Whether a TIFF file is a camera's raw file: it says so (DNG, Canon), or its first image is a preview of another
/// (Nikon, Sony and others), by the tags that TIFF 6.0 and the DNG specification define.
pub(super) fn is_camera_raw(bytes: &[u8]) -> bool {
    const NEW_SUBFILE_TYPE: u32 = 254;
    const REDUCED_RESOLUTION: u32 = 1;
    const DNG_VERSION: u32 = 50706;
    let little_endian = bytes.starts_with(b"II");
    let number = |at: usize, size: usize| -> Option<u32> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        let join = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        Some(if little_endian { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) })
    };
    let says = |entry: usize| match number(entry, 2) {
        Some(NEW_SUBFILE_TYPE) => number(entry + 8, 4) == Some(REDUCED_RESOLUTION),
        Some(tag) => tag == DNG_VERSION,
        None => false,
    };
    let Some(directory) = number(4, 4).map(|offset| offset as usize) else { return false };
    let entries = number(directory, 2).unwrap_or(0) as usize;
    bytes.get(8..10) == Some(b"CR") || (0..entries).any(|index| says(directory + 2 + 12 * index))
}

fn text(bytes: &[u8]) -> Option<Guess> {
    let head = &bytes[..bytes.len().min(512)];
    let head = std::str::from_utf8(head).or_else(|error| std::str::from_utf8(&head[..error.valid_up_to()])).ok()?;
    let lower = head.trim_start().to_ascii_lowercase();
    if lower.is_empty() || head.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    Some(if lower.starts_with("<svg") || (lower.starts_with("<?xml") && lower.contains("<svg")) {
        Guess { looks_like: "an SVG drawing", remedy: "export it as PNG first" }
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        Guess { looks_like: "a web page", remedy: DOWNLOAD_AGAIN }
    } else {
        Guess { looks_like: "text", remedy: "choose an image file" }
    })
}

#[cfg(test)]
mod tests {
    use super::guess;

    #[test]
    fn files_are_named_by_their_first_bytes() {
        let cases: &[(&[u8], &str)] = &[
            (b"\0\0\0\x18ftypheic\0\0", "HEIC"),
            (b"\0\0\0\x1cftypavif\0\0", "AVIF"),
            (b"\0\0\0\x1cftypisom\0\0", "a film"),
            (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
            (b"%PDF-1.7", "a PDF document"),
            (b"PK\x03\x04abc", "a zip archive"),
            (b"\x08\x0a\x12\x07pytorch", "an ONNX model"),
            (b"<?xml version=\"1.0\"?><svg width=\"1\">", "an SVG drawing"),
            (b"<!DOCTYPE html><html>", "a web page"),
            (b"hello", "text"),
            (b"\x01\x02\x03\xfe\x00", "none of the formats known here"),
            (b"", "none of the formats known here"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(guess(bytes).looks_like, *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
