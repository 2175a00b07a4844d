//! The bundled model through our engine against the Python onnxruntime: `tests/golden/make_golden.py` made the values.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking; clippy sees that only inside #[test] functions")]

use moescope::analysis::{Analysis, OpenModel, analyse};
use moescope::engine::{Engine, EngineOptions, Execution, Provider};
use moescope::input::{DecodedImage, ImageSource, InputTensor, decode_file, preprocess};
use moescope::model::{CardSource, InputCard, Layout, default_model_path};
use moescope::routing::{LayerRouting, PatchIdx, PixelRect};
use ndarray::{Array2, Array3, ArrayD, ArrayView1, Axis};
use ndarray_npy::{ReadNpyExt, ReadableElement};
use serde::Deserialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Two gate probabilities that are closer than this may change places between kernels for different processors.
const TIE: f32 = 1e-5;

/// `golden.json`
#[derive(Deserialize)]
struct Golden {
    samples: Vec<String>,
    top_k: Vec<usize>,
    default_top_k: usize,
    model_sha256: String,
}

fn golden() -> Golden {
    let golden: Golden = serde_json::from_slice(&fs::read(folder().join("golden.json")).unwrap()).unwrap();
    let sha256 = fs::read_to_string(default_model_path().unwrap().with_extension("onnx.sha256")).unwrap();
    assert!(sha256.starts_with(&golden.model_sha256), "the model has changed: run tests/golden/make_golden.py");
    golden
}

fn folder() -> PathBuf {
    Path::new(ROOT).join("tests/golden/default")
}

fn load<T: ReadableElement>(name: &str) -> ArrayD<T> {
    ArrayD::read_npy(File::open(folder().join(name)).unwrap()).unwrap()
}

fn open() -> (Engine, OpenModel) {
    let engine = Engine::start(EngineOptions::default());
    let model = OpenModel::open(&engine, &default_model_path().unwrap(), &Execution::on(Provider::Cpu)).unwrap();
    (engine, model)
}

/// The pixels that Pillow gave, as the image and as the model's input: (byte / 255 − mean) / std, rounded once.
fn pillow_pixels(name: &str, card: &InputCard) -> (Arc<DecodedImage>, InputTensor) {
    let picture = image::open(folder().join(format!("{name}.png"))).unwrap().to_rgb8();
    let (width, height) = picture.dimensions();
    assert_eq!((width, height, card.layout), (card.width, card.height, Layout::Nchw));
    let value = |byte: u8, channel: usize| {
        ((f64::from(byte) / 255.0 - f64::from(card.mean[channel])) / f64::from(card.std[channel])) as f32
    };
    let data: Arc<[f32]> =
        (0..3).flat_map(|channel| picture.pixels().map(move |pixel| value(pixel.0[channel], channel))).collect();
    let seen = PixelRect { x: 0.0, y: 0.0, width: width as f32, height: height as f32 };
    let rgba = image::DynamicImage::ImageRgb8(picture).into_rgba8().into_raw().into();
    let image = DecodedImage { source: ImageSource::Clipboard(0), width, height, rgba };
    (Arc::new(image), InputTensor { shape: [1, 3, height as usize, width as usize], data, seen })
}

#[test]
fn the_engine_gives_what_python_gives() {
    let (engine, model) = open();
    let golden = golden();
    for sample in &golden.samples {
        let name = sample.split('.').next().unwrap();
        let (image, tensor) = pillow_pixels(name, &model.card.input);
        let logits: Array2<f32> = load(&format!("{name}.logits.npy")).into_dimensionality().unwrap();
        let gates: Array3<f32> = load(&format!("{name}.gates.npy")).into_dimensionality().unwrap();
        for (&top_k, logits) in golden.top_k.iter().zip(logits.axis_iter(Axis(0))) {
            let analysis = analyse(&engine, &model, &image, &tensor, Some(top_k)).unwrap();
            check_logits(&analysis, &logits);
            check_routing(&analysis, name, top_k);
            if top_k == golden.default_top_k {
                for (layer, gates) in analysis.trace.layers.iter().zip(gates.axis_iter(Axis(0))) {
                    assert_near(layer.gate_probs(), gates.as_slice().unwrap(), 1e-5);
                }
            }
        }
    }
}

fn check_logits(analysis: &Analysis, expected: &ArrayView1<'_, f32>) {
    assert_near(&analysis.logits, expected.as_slice().unwrap(), 1e-4);
    let best = expected.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    assert_eq!(analysis.predictions[0].index, best);
}

fn check_routing(analysis: &Analysis, name: &str, top_k: usize) {
    let experts: Array3<u8> = load(&format!("{name}.experts.k{top_k}.npy")).into_dimensionality().unwrap();
    let weights: Array3<f32> = load(&format!("{name}.weights.k{top_k}.npy")).into_dimensionality().unwrap();
    assert_eq!(experts.len_of(Axis(0)), analysis.trace.layers.len());
    for (index, layer) in analysis.trace.layers.iter().enumerate() {
        assert_eq!(experts.index_axis(Axis(0), index).dim(), (layer.num_tokens(), top_k));
        for patch in (0..layer.num_tokens()).map(PatchIdx).filter(|&patch| !has_tie(layer, patch)) {
            let found = layer.experts_of(patch).iter().map(|expert| expert.0);
            let expected = (0..top_k).map(|rank| u32::from(experts[[index, patch.0, rank]]));
            assert!(found.eq(expected), "{name}, k = {top_k}, {}, patch {}", layer.name(), patch.0);
        }
        assert_near(layer.weights(), weights.index_axis(Axis(0), index).as_slice().unwrap(), 1e-5);
    }
}

/// Whether two gates are so close that the order of a sum decides between them.
fn has_tie(layer: &LayerRouting, patch: PatchIdx) -> bool {
    let mut gates = layer.gate_probs_of(patch).to_vec();
    gates.sort_by(|a, b| b.total_cmp(a));
    gates.iter().zip(&gates[1..]).take(layer.top_k()).any(|(larger, smaller)| larger - smaller < TIE)
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest <= tolerance, "values differ by up to {largest}");
}

/// Our own decoding and resizing differ from Pillow's in single grey levels; that must not change what is shown.
#[test]
fn our_own_preprocessing_leads_to_the_same_class_and_nearly_the_same_experts() {
    let (engine, model) = open();
    let golden = golden();
    let setting = golden.top_k.iter().position(|&top_k| top_k == golden.default_top_k).unwrap();
    for sample in &golden.samples {
        let name = sample.split('.').next().unwrap();
        let image = Arc::new(decode_file(&Path::new(ROOT).join("assets/samples").join(sample)).unwrap());
        let tensor = preprocess(&image, &model.card.input).unwrap();
        let analysis = analyse(&engine, &model, &image, &tensor, None).unwrap();
        let logits: Array2<f32> = load(&format!("{name}.logits.npy")).into_dimensionality().unwrap();
        let best = logits.row(setting).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(analysis.predictions[0].index, best, "{name}");
        let experts: Array3<u8> =
            load(&format!("{name}.experts.k{}.npy", golden.default_top_k)).into_dimensionality().unwrap();
        for (layer, experts) in analysis.trace.layers.iter().zip(experts.axis_iter(Axis(0))) {
            let same =
                layer.experts().iter().zip(&experts).filter(|(found, expected)| found.0 == u32::from(**expected));
            let share = same.count() as f64 / experts.len() as f64;
            assert!(share > 0.95, "{name}, {}: {share}", layer.name());
        }
    }
}

#[test]
fn the_bundled_model_has_a_card_that_holds() {
    let (_engine, model) = open();
    assert_eq!((&model.card_source, model.assumption()), (&CardSource::Metadata, None));
    let card = &model.card;
    assert!(card.layers.len() >= 4 && card.layers.iter().all(|layer| layer.num_experts >= 8));
    assert_eq!((card.labels.len(), card.grid.rows, card.grid.cols), (1000, 14, 14));
    assert_eq!(card.top_k.as_ref().unwrap().default, 2);
    let (weights, total) = (model.description.num_weights, card.parameters.as_ref().unwrap().total);
    assert!(weights.abs_diff(total) < total / 100, "{weights} weights, {total} parameters");
}
