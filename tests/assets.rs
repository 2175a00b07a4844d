//! The built-in photos and fonts: each can be read, and each is credited where its licence asks for it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::input::SAMPLES;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer side in pixels and bytes: the program's size, and the time to its first picture, grow with these.
const MAX_SIDE: u32 = 640;
const MAX_BYTES: usize = 120_000;

#[test]
fn every_sample_decodes_and_is_small() {
    assert!(SAMPLES.len() >= 6);
    for sample in SAMPLES {
        let image = image::load_from_memory_with_format(sample.bytes, image::ImageFormat::Jpeg).unwrap();
        let (width, height) = (image.width(), image.height());
        assert!(width.min(height) >= 224 && width.max(height) <= MAX_SIDE, "{}: {width}x{height}", sample.id);
        assert!(sample.bytes.len() <= MAX_BYTES, "{}: {} bytes", sample.id, sample.bytes.len());
    }
}

#[test]
fn samples_and_files_are_the_same() {
    let files: BTreeSet<String> = fs::read_dir(assets("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let samples: BTreeSet<String> = SAMPLES.iter().map(|sample| format!("{}.jpg", sample.id)).collect();
    assert_eq!(files, samples);
    assert_eq!(samples.len(), SAMPLES.len(), "two samples share an identifier");
    for sample in SAMPLES {
        let file = fs::read(assets("samples").join(format!("{}.jpg", sample.id))).unwrap();
        assert!(file == sample.bytes, "{} carries the bytes of another file", sample.id);
    }
}

#[test]
fn every_sample_is_credited() {
    let readme = fs::read_to_string(assets("samples").join("README.md")).unwrap();
    for sample in SAMPLES {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}.jpg` |", sample.id))).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, _, title, author, license, source, _] = cells[..] else { panic!("{row}") };
        assert!(title.starts_with(sample.title), "{row}");
        assert_eq!(author, sample.credit, "{row}");
        assert!(license == sample.license || license.starts_with(&format!("[{}](https://", sample.license)), "{row}");
        assert!(!source.is_empty(), "{row}");
    }
}

/// Numbers that change while a slider is dragged must not jitter.
#[test]
fn digits_of_the_fonts_are_equally_wide() {
    for name in ["IBMPlexSans-Regular.ttf", "IBMPlexSans-SemiBold.ttf"] {
        let font = fs::read(assets("fonts").join(name)).unwrap();
        let widths: BTreeSet<u16> = ('0'..='9').map(|digit| advance_width(&font, digit)).collect();
        assert_eq!(widths.len(), 1, "{name}: {widths:?}");
        assert_ne!(advance_width(&font, 'i'), advance_width(&font, 'm'), "{name} is no proportional font");
    }
    assert!(fs::read_to_string(assets("fonts").join("OFL.txt")).unwrap().contains("SIL Open Font License"));
}

fn assets(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(folder)
}

/// Width of a character in font units, from the tables `cmap`, `hhea` and `hmtx` of the OpenType specification.
fn advance_width(font: &[u8], character: char) -> u16 {
    let glyph = glyph_index(table(font, b"cmap"), character as u16);
    let number_of_h_metrics = u16_at(table(font, b"hhea"), 34);
    u16_at(table(font, b"hmtx"), 4 * usize::from(glyph.min(number_of_h_metrics - 1)))
}

/// The glyph of a character of the basic plane, by a `cmap` subtable of format 4. Panics where there is none.
fn glyph_index(cmap: &[u8], character: u16) -> u16 {
    let subtable = (0..usize::from(u16_at(cmap, 2)))
        .map(|record| &cmap[u32_at(cmap, 4 + 8 * record + 4)..])
        .find(|subtable| u16_at(subtable, 0) == 4)
        .unwrap();
    let twice_segments = usize::from(u16_at(subtable, 6));
    let (ends, starts) = (14, 16 + twice_segments);
    let (deltas, offsets) = (starts + twice_segments, starts + 2 * twice_segments);
    let segment = (0..twice_segments).step_by(2).find(|at| u16_at(subtable, ends + at) >= character).unwrap();
    let start = u16_at(subtable, starts + segment);
    assert!(start <= character, "the font has no glyph for U+{character:04X}");
    let offset = usize::from(u16_at(subtable, offsets + segment));
    let base = if offset == 0 {
        character
    } else {
        u16_at(subtable, offsets + segment + offset + 2 * usize::from(character - start))
    };
    base.wrapping_add(u16_at(subtable, deltas + segment))
}

fn table<'a>(font: &'a [u8], tag: &[u8; 4]) -> &'a [u8] {
    let record = (0..usize::from(u16_at(font, 4))).map(|at| &font[12 + 16 * at..]).find(|r| r[..4] == *tag).unwrap();
    &font[u32_at(record, 8)..][..u32_at(record, 12)]
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()).try_into().unwrap()
}
