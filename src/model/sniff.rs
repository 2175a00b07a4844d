//! Recognises what is often handed over in place of an ONNX file, by its first bytes.

/// What a file is instead of an ONNX model, and the step that helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sniffed {
    /// Completes "it is …".
    pub found: String,
    /// A sentence.
    pub remedy: &'static str,
}

const EXPORT_PYTORCH: &str = "Export the model with torch.onnx.export in the program that made it.";
const UNPACK: &str = "Unpack it and open the .onnx file inside.";
const DOWNLOAD: &str = "Get the file again from where it came from.";
const OTHER_FILE: &str = "Choose a file that ends in .onnx.";

/// Formats by the bytes at an offset.
const MAGICS: [(usize, &[u8], &str, &str); 13] = [
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run `git lfs pull` in its repository."),
    (0, b"\x80\x02", "a Python pickle, such as an old PyTorch checkpoint", EXPORT_PYTORCH),
    (4, b"TFL3", "a TensorFlow Lite model", "Convert it with tf2onnx."),
    (4, b"ORTM", "a model in ONNX Runtime's own .ort format", "Use the .onnx file that it was made from."),
    (0, b"GGUF", "a GGUF file of weights", "Use the ONNX export of the model."),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras model", "Convert it with tf2onnx."),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (0, b"\xfd7zXZ", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (0, b"\x89PNG", "a PNG image", OTHER_FILE),
    (0, b"\xff\xd8\xff", "a JPEG image", OTHER_FILE),
    (0, b"%PDF", "a PDF document", OTHER_FILE),
];

/// Names the format of a file that is surely no ONNX model; `None` for what may be one.
pub(super) fn sniff(bytes: &[u8]) -> Option<Sniffed> {
    let head = &bytes[..bytes.len().min(4096)];
    let sniffed = |found: &str, remedy| Some(Sniffed { found: found.into(), remedy });
    if head.is_empty() {
        return sniffed("empty (0 bytes)", DOWNLOAD);
    }
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((_, _, found, remedy)) = MAGICS.into_iter().find(|(offset, magic, ..)| at(*offset, magic)) {
        return sniffed(found, remedy);
    }
    if at(0, b"PK\x03\x04") {
        let pytorch = head.windows(8).any(|window| window == b"data.pkl");
        let (found, remedy) =
            if pytorch { ("a PyTorch checkpoint", EXPORT_PYTORCH) } else { ("a zip archive", UNPACK) };
        return sniffed(found, remedy);
    }
    if head.first_chunk().is_some_and(|len| u64::from_le_bytes(*len) <= bytes.len() as u64) && at(8, b"{\"") {
        return sniffed("a safetensors file of weights", "Use the ONNX export of the model.");
    }
    let text = head.trim_ascii_start().to_ascii_lowercase();
    match text.as_slice() {
        [b'<', rest @ ..] if rest.starts_with(b"!doctype html") || rest.starts_with(b"html") => {
            sniffed("a web page", "Download the file itself: the page has a link to it, often named \"raw\".")
        }
        [b'{' | b'[', ..] => sniffed("JSON text", OTHER_FILE),
        _ => None,
    }
}

/// Names a file that does not parse.
pub(super) fn unparsable(bytes: &[u8]) -> Sniffed {
    // ONNX files begin with field 1, the small number of the IR version, and go on with another field of the model.
    let begins_like_onnx = matches!(
        bytes,
        [0x08, 1..=99, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72, ..] | [0x08] | [0x08, 1..=99]
    );
    if begins_like_onnx {
        return Sniffed { found: "damaged or cut off".into(), remedy: DOWNLOAD };
    }
    let first: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Sniffed { found: format!("a file of another kind (first bytes {})", first.join(" ")), remedy: OTHER_FILE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_are_named() {
        let cases: [(&[u8], &str); 14] = [
            (b"", "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
            (b"\n <!DOCTYPE HTML>\n<html>", "web page"),
            (b"<html><body>404", "web page"),
            (b"PK\x03\x04\x14\0\0\0\0\0archive/data.pkl\x80\x02", "PyTorch"),
            (b"PK\x03\x04\x14\0\0\0\0\0model.onnx", "zip"),
            (b"\x80\x02}q\x00", "pickle"),
            (b"\x10\0\0\0\0\0\0\0{\"a\":{}}          ", "safetensors"),
            (b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite"),
            (b"\x1c\0\0\0ORTM\x14\0", ".ort"),
            (b"{\"model\": 1}", "JSON"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x89PNG\r\n", "PNG"),
            (b"GGUF\x03", "GGUF"),
        ];
        for (bytes, found) in cases {
            let sniffed = sniff(bytes).unwrap();
            assert!(sniffed.found.contains(found), "{sniffed:?}");
        }
    }

    #[test]
    fn what_may_be_onnx_passes() {
        for bytes in [b"\x08\x08\x12\x04test".as_slice(), b"\x08", b"some text", b"\x12\x00"] {
            assert_eq!(sniff(bytes), None);
        }
    }

    #[test]
    fn a_damaged_model_is_told_from_another_file() {
        assert!(unparsable(b"\x08\x0a\x12\x07pytorch").found.contains("cut off"));
        assert!(unparsable(b"hello world").found.contains("68 65 6c 6c 6f"));
    }
}
