//! One small file of each kind against what Pillow sees in it (`golden/make_decode.py` made them), and files with bytes
//! changed at random.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use moescope::input::{
    DecodedImage, ImageSource, InputError, SAMPLES, decode_bytes, decode_file, decode_sample, preprocess,
};
use moescope::model::{Layout, default_model_path, read_model};
use std::fs;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".rgba.png";

/// The files of a golden folder that are not what another one must decode to.
fn files(folder: &str, is_file: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| is_file(path.to_str().unwrap())).collect();
    files.sort();
    files
}

fn kinds() -> Vec<PathBuf> {
    let kinds = files("decode", |path| !path.ends_with(SUFFIX));
    assert_eq!(kinds.len(), 18);
    kinds
}

/// How far a decoder may be from Pillow's: lossless formats not at all.
fn tolerance(path: &Path) -> u8 {
    if path.extension().is_some_and(|extension| extension == "jpg") { 4 } else { 0 }
}

#[test]
fn every_kind_of_file_decodes_to_pillows_pixels() {
    for path in kinds() {
        let image = decode_file(&path).unwrap();
        let expected = image::open(format!("{}{SUFFIX}", path.display())).unwrap().into_rgba8();
        assert_eq!((image.width, image.height), expected.dimensions(), "{}", path.display());
        let pairs = image.rgba.as_chunks::<4>().0.iter().zip(expected.as_raw().as_chunks::<4>().0);
        // The colour of a pixel that is not seen differs from one decoder to the next.
        let seen = pairs.filter(|(found, expected)| found[3] != 0 || expected[3] != 0);
        let levels =
            seen.flat_map(|(found, expected)| (0..4).map(|channel| found[channel].abs_diff(expected[channel])));
        let largest = levels.max().unwrap();
        assert!(largest <= tolerance(&path), "{} differs by {largest} levels", path.display());
    }
}

/// The whole way of photos, from the file to the model's input: `golden/make_golden.py` wrote what Pillow makes of them.
#[test]
fn photos_become_pillows_input_within_a_fraction_of_a_level() {
    let card = read_model(&default_model_path().unwrap()).unwrap().card().unwrap().0.input;
    assert_eq!(card.layout, Layout::Nchw);
    // The pagoda's colours are stored at half the resolution: decoders disagree on how to scale them up.
    for (sample, tolerance) in [("cat", 0.03), ("rocket", 0.03), ("pagoda", 0.3)] {
        let tensor = preprocess(&decode_sample(sample).unwrap(), &card).unwrap();
        let crop = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/default/{sample}.png"));
        let crop = image::open(crop).unwrap().to_rgb8();
        assert_eq!(crop.len(), tensor.data.len());
        let expected = (0..3).flat_map(|channel| crop.pixels().map(move |pixel| (channel, pixel.0[channel])));
        let levels = tensor.data.iter().zip(expected).map(|(&value, (channel, byte))| {
            let found = f64::from(value) * f64::from(card.std[channel]) + f64::from(card.mean[channel]);
            (found * 255.0 - f64::from(byte)).abs()
        });
        let mean = levels.sum::<f64>() / tensor.data.len() as f64;
        assert!(mean < tolerance, "{sample}: {mean} levels in the mean");
    }
}

/// A linear congruential generator (Knuth's MMIX constants): the same changes on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    /// Changes one to eight bytes.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut changed = bytes.to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(changed.len());
            changed[at] = self.below(256) as u8;
        }
        changed
    }
}

/// Whole, or refused in one line that names the file.
fn check(name: &str, decoded: Result<DecodedImage, InputError>) {
    match decoded {
        Ok(image) => {
            let pixels = image.width as usize * image.height as usize;
            assert!(pixels > 0 && image.rgba.len() == 4 * pixels, "{name}");
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with(name) && !message.contains(['\n', '\r']), "{message}");
        }
    }
}

#[test]
fn changed_bytes_give_a_whole_image_or_one_line() {
    let mut random = Random(1);
    let jpegs = files("preprocess", |path| path.ends_with(".jpg"));
    assert_eq!(jpegs.len(), 9);
    for path in kinds().into_iter().chain(jpegs) {
        let bytes = fs::read(&path).unwrap();
        for _ in 0..100 {
            let source = ImageSource::File(path.clone());
            check(&source.name(), decode_bytes(&random.change(&bytes), source));
        }
    }
    for sample in SAMPLES {
        for _ in 0..15 {
            let source = ImageSource::Sample(sample.id);
            check(&source.name(), decode_bytes(&random.change(sample.bytes), source));
        }
    }
}
