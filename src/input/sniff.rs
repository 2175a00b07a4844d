//! What a file that is no image looks like, by its first bytes, and the step that helps.

/// What it looks like, and what to do.
pub(super) struct Guess {
    pub(super) looks_like: &'static str,
    pub(super) remedy: &'static str,
}

const CONVERT: &str = "convert it to JPEG or PNG first";
const DEVELOP: &str = "develop it to JPEG or PNG first";
const UNPACK: &str = "unpack it and open the images in it";
const DOWNLOAD_AGAIN: &str = "download the image itself";
const SAVE_FRAME: &str = "save one of its frames as a picture first";
const EXPORT_PAGE: &str = "export the page as a picture first";

/// The raw data of a camera's sensor.
pub(super) const CAMERA_RAW: Guess = Guess { looks_like: "a camera's raw file", remedy: DEVELOP };

/// Formats by the bytes at an offset; the first that fits counts.
const MAGICS: [(usize, &[u8], &str, &str); 27] = [
    (4, b"ftyphe", "HEIC", CONVERT),
    (4, b"ftypmif1", "HEIC", CONVERT),
    (4, b"ftypavif", "AVIF", CONVERT),
    (4, b"ftypavis", "AVIF", CONVERT),
    (4, b"ftypcrx", CAMERA_RAW.looks_like, DEVELOP),
    (0, b"FUJIFILMCCD-RAW", CAMERA_RAW.looks_like, DEVELOP),
    (0, b"IIRO", CAMERA_RAW.looks_like, DEVELOP),
    (0, b"IIRS", CAMERA_RAW.looks_like, DEVELOP),
    (0, b"MMOR", CAMERA_RAW.looks_like, DEVELOP),
    (0, b"IIU\0", CAMERA_RAW.looks_like, DEVELOP),
    (4, b"ftyp", "a film", SAVE_FRAME),
    (0, b"\x1a\x45\xdf\xa3", "a film", SAVE_FRAME),
    (0, b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` to fetch the file that it points to"),
    (0, b"%PDF", "a PDF document", EXPORT_PAGE),
    (0, b"%!PS", "a PostScript document", EXPORT_PAGE),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (0, b"\xff\x0a", "JPEG XL", CONVERT),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", CONVERT),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000", CONVERT),
    (0, b"8BPS", "a Photoshop file", CONVERT),
    (0, b"\0\0\x01\0", "an icon file", CONVERT),
    (0, b"\x76\x2f\x31\x01", "OpenEXR", CONVERT),
    (0, b"#?RADIANCE", "Radiance HDR", CONVERT),
    (0, b"qoif", "QOI", CONVERT),
    (0, b"DDS ", "a texture file", CONVERT),
];

/// Names a file that the decoder does not know.
pub(super) fn guess(bytes: &[u8]) -> Guess {
    let guess = |looks_like, remedy| Guess { looks_like, remedy };
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., looks_like, remedy)) = MAGICS.into_iter().find(|(offset, magic, ..)| at(*offset, magic)) {
        return guess(looks_like, remedy);
    }
    // The protobuf begins with a small `ir_version`; a string field or the graph follows.
    if let [0x08, 1..=32, 0x12 | 0x1A | 0x22 | 0x32 | 0x3A | 0x42, ..] = bytes {
        return guess("an ONNX model", "open it with File → Open a model… or --model");
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
            (b"\0\0\0\x18ftypcrx isom", "a camera's raw file"),
            (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
            (b"\0\0\x01\0\x01\0", "an icon file"),
            (b"\x08\x0a\x12\x07pytorch", "an ONNX model"),
            (b"\x08\x08\x3a\x98\x04\x0a\x1d", "an ONNX model"),
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
