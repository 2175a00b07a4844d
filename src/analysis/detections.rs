//! What a detector saw: its outputs become boxes on the image, by the card's [`DetectionCard`].

use super::AnalysisError;
use super::assemble::output;
use crate::engine::RunResult;
use crate::model::{BoxFormat, BoxUnits, DetectionCard, DetectionStyle, InputCard, ScoreActivation};
use crate::routing::{PixelRect, softmax};

/// One object on the image.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Detection {
    /// Where it lies, in pixels of the whole image.
    pub rect: PixelRect,
    /// Class name, or `class N` where the card has no names.
    pub label: String,
    /// Index of the class.
    pub class: usize,
    /// How probable it is.
    pub probability: f32,
}

impl Detection {
    /// Less probable boxes are not shown.
    pub const MIN_PROBABILITY: f32 = 0.25;
    /// At most so many are shown, the most probable first.
    pub const MOST: usize = 50;
    /// Of two boxes of one class that overlap more than this (intersection over union), the less probable one is left
    /// out, where the model leaves that to others.
    pub const MAX_OVERLAP: f32 = 0.5;
}

/// Four numbers of a box, with class and probability.
type Candidate = ([f32; 4], usize, f32);

/// The objects in the first image of a run, the most probable first. `seen` is the part of the image that the model's
/// input shows.
///
/// # Errors
/// [`AnalysisError`] about an output that is missing or of another shape.
pub(super) fn detections(
    card: &DetectionCard,
    input: &InputCard,
    seen: PixelRect,
    run: &RunResult,
) -> Result<Vec<Detection>, AnalysisError> {
    let mut candidates = candidates(card, input.batch.max(1), run)?;
    candidates.retain(|(.., probability)| *probability >= Detection::MIN_PROBABILITY);
    candidates.sort_by(|(.., a), (.., b)| b.total_cmp(a));
    let mut detections: Vec<Detection> = Vec::new();
    for (numbers, class, probability) in candidates {
        let rect = on_image(card, input, seen, numbers);
        let hides = |other: &Detection| {
            other.class == class && overlap(&other.rect, &rect) > Detection::MAX_OVERLAP && leaves_overlaps(card.style)
        };
        if detections.len() < Detection::MOST && !detections.iter().any(hides) {
            let label = card.labels.get(class).cloned().unwrap_or_else(|| format!("class {class}"));
            detections.push(Detection { rect, label, class, probability });
        }
    }
    Ok(detections)
}

/// Whether many boxes for one object come out.
fn leaves_overlaps(style: DetectionStyle) -> bool {
    matches!(style, DetectionStyle::YoloColumns | DetectionStyle::YoloRows | DetectionStyle::YoloObjectness)
}

/// A tensor of the first image, as rows of the last axis.
struct Table {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
    columns: usize,
}

impl Table {
    fn of(run: &RunResult, name: &str, batch: usize) -> Result<Self, AnalysisError> {
        let tensor = output(run, name)?;
        let values = tensor.data.to_floats();
        let columns = tensor.shape.last().copied().unwrap_or(0);
        let first = values.len() / batch;
        let (name, shape) = (name.to_owned(), tensor.shape.clone());
        Ok(Self { name, shape, values: values[..first].to_vec(), columns })
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.columns.max(1))
    }

    /// Rows and columns exchanged.
    fn transposed(self) -> Self {
        let rows = self.values.len() / self.columns.max(1);
        let at = |index: usize| self.values[index % rows.max(1) * self.columns + index / rows.max(1)];
        let values = (0..rows * self.columns).map(at).collect();
        Self { columns: rows, values, ..self }
    }

    fn with_at_least(self, columns: usize, expected: &str) -> Result<Self, AnalysisError> {
        if self.columns >= columns {
            return Ok(self);
        }
        Err(AnalysisError::OutputShape { name: self.name, found: self.shape, expected: expected.to_owned() })
    }
}

fn candidates(card: &DetectionCard, batch: usize, run: &RunResult) -> Result<Vec<Candidate>, AnalysisError> {
    let boxes = Table::of(run, &card.boxes, batch)?;
    let numbers = |row: &[f32]| [row[0], row[1], row[2], row[3]];
    let of_rows = |table: &Table, first: usize, weight: &dyn Fn(&[f32]) -> f32| -> Vec<Candidate> {
        let candidate = |row: &[f32]| {
            let (class, probability) = best(&activated(&row[first..], card.activation))?;
            Some((numbers(row), class, probability * weight(row)))
        };
        table.rows().filter_map(candidate).collect()
    };
    Ok(match card.style {
        DetectionStyle::YoloColumns => {
            of_rows(&boxes.transposed().with_at_least(5, "[.., 4 + classes, boxes]")?, 4, &|_| 1.0)
        }
        DetectionStyle::YoloRows => of_rows(&boxes.with_at_least(5, "[.., boxes, 4 + classes]")?, 4, &|_| 1.0),
        DetectionStyle::YoloObjectness => {
            let objectness = |row: &[f32]| match card.activation {
                ScoreActivation::Sigmoid => sigmoid(row[4]),
                ScoreActivation::None | ScoreActivation::Softmax => row[4],
            };
            of_rows(&boxes.with_at_least(6, "[.., boxes, 5 + classes]")?, 5, &objectness)
        }
        DetectionStyle::Chosen => {
            let table = boxes.with_at_least(6, "[.., boxes, 6]")?;
            table.rows().map(|row| (numbers(row), row[5].max(0.0) as usize, row[4])).collect()
        }
        DetectionStyle::ChosenOfBatch => {
            // Rows of all images stand in one table.
            let table = Table::of(run, &card.boxes, 1)?.with_at_least(7, "[boxes, 7]")?;
            let of_first = table.rows().filter(|row| row[0] == 0.0);
            of_first.map(|row| (numbers(&row[1..]), row[5].max(0.0) as usize, row[6])).collect()
        }
        DetectionStyle::Scored => {
            let table = boxes.with_at_least(5, "[.., boxes, 5]")?;
            let classes = Table::of(run, &card.classes, batch)?;
            let rows = table.rows().zip(&classes.values);
            rows.map(|(row, class)| (numbers(row), class.max(0.0) as usize, row[4])).collect()
        }
        DetectionStyle::Detr | DetectionStyle::Lists => {
            let boxes = boxes.with_at_least(4, "[.., boxes, 4]")?;
            let scores = Table::of(run, &card.scores, batch)?;
            lists(card, batch, run, &boxes, &scores)?
        }
    })
}

/// Boxes and scores that lie in outputs of their own.
fn lists(
    card: &DetectionCard,
    batch: usize,
    run: &RunResult,
    boxes: &Table,
    scores: &Table,
) -> Result<Vec<Candidate>, AnalysisError> {
    let numbers = boxes.rows().map(|row| [row[0], row[1], row[2], row[3]]);
    if !card.classes.is_empty() {
        let classes = Table::of(run, &card.classes, batch)?;
        let scored = scores.values.iter().zip(&classes.values);
        return Ok(numbers
            .zip(scored)
            .map(|(numbers, (&score, &class))| (numbers, class.max(0.0) as usize, score))
            .collect());
    }
    let of_objects = |row: &[f32]| {
        let probabilities = activated(row, card.activation);
        // The last class of DETR says that there is nothing.
        let classes = probabilities.len() - usize::from(card.style == DetectionStyle::Detr);
        best(&probabilities[..classes])
    };
    let scored = scores.rows().map(of_objects);
    Ok(numbers.zip(scored).filter_map(|(numbers, best)| best.map(|(class, score)| (numbers, class, score))).collect())
}

fn activated(scores: &[f32], activation: ScoreActivation) -> Vec<f32> {
    match activation {
        ScoreActivation::None => scores.to_vec(),
        ScoreActivation::Sigmoid => scores.iter().map(|&score| sigmoid(score)).collect(),
        ScoreActivation::Softmax => softmax(scores),
    }
}

fn sigmoid(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

fn best(probabilities: &[f32]) -> Option<(usize, f32)> {
    let finite = probabilities.iter().copied().enumerate().filter(|(_, probability)| probability.is_finite());
    finite.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// A box in pixels of the image.
fn on_image(card: &DetectionCard, input: &InputCard, seen: PixelRect, numbers: [f32; 4]) -> PixelRect {
    let size = match card.units {
        BoxUnits::Normalized => [1.0, 1.0],
        BoxUnits::Pixels => [input.width as f32, input.height as f32],
    };
    let [left, top, right, bottom] = match card.format {
        BoxFormat::Xyxy => numbers,
        BoxFormat::Cxcywh => {
            let [x, y, width, height] = numbers;
            [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
        }
        BoxFormat::Xywh => {
            let [x, y, width, height] = numbers;
            [x, y, x + width, y + height]
        }
    };
    let (scale_x, scale_y) = (seen.width / size[0], seen.height / size[1]);
    PixelRect {
        x: seen.x + left * scale_x,
        y: seen.y + top * scale_y,
        width: (right - left).max(0.0) * scale_x,
        height: (bottom - top).max(0.0) * scale_y,
    }
}

/// Intersection over union.
fn overlap(a: &PixelRect, b: &PixelRect) -> f32 {
    let common = |a: f32, a_size: f32, b: f32, b_size: f32| ((a + a_size).min(b + b_size) - a.max(b)).max(0.0);
    let both = common(a.x, a.width, b.x, b.width) * common(a.y, a.height, b.y, b.height);
    let either = a.width * a.height + b.width * b.height - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Provider, Tensor, TensorData};

    const SEEN: PixelRect = PixelRect { x: 10.0, y: 0.0, width: 100.0, height: 50.0 };

    fn card(style: DetectionStyle, format: BoxFormat, units: BoxUnits, activation: ScoreActivation) -> DetectionCard {
        let [boxes, scores] = ["boxes", "scores"].map(str::to_owned);
        let labels = vec!["cat".to_owned()];
        DetectionCard { style, boxes, scores, classes: String::new(), format, units, activation, labels }
    }

    fn input() -> InputCard {
        let json = serde_json::json!({
            "name": "image", "layout": "NCHW", "height": 20, "width": 20, "crop": "none",
            "resize": {"rule": "stretch", "size": 20, "filter": "bilinear"},
            "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        });
        serde_json::from_value(json).unwrap()
    }

    fn found(card: &DetectionCard, outputs: &[(&str, &[usize], &[f32])]) -> Vec<(f32, f32, f32, f32, String, f32)> {
        let tensor = |&(name, shape, values): &(&str, &[usize], &[f32])| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            data: TensorData::F32(values.into()),
        };
        let run = RunResult { outputs: outputs.iter().map(tensor).collect(), run_secs: 0.0, provider: Provider::Cpu };
        let told = |d: Detection| (d.rect.x, d.rect.y, d.rect.width, d.rect.height, d.label, d.probability);
        detections(card, &input(), SEEN, &run).unwrap().into_iter().map(told).collect()
    }

    #[test]
    fn queries_of_detr_lie_where_their_fractions_say_and_nothing_is_no_class() {
        let card = card(DetectionStyle::Detr, BoxFormat::Cxcywh, BoxUnits::Normalized, ScoreActivation::Softmax);
        let boxes = [0.5, 0.5, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1];
        // Two classes and nothing: the first query is sure of class 1, the second of nothing.
        let scores = [0.0, 9.0, 0.0, 0.0, 0.0, 9.0];
        let found = found(&card, &[("boxes", &[1, 2, 4], &boxes), ("scores", &[1, 2, 3], &scores)]);
        assert_eq!(found.len(), 1);
        let (x, y, width, height, label, probability) = &found[0];
        assert!((x - 50.0).abs() < 1e-4 && (y - 15.0).abs() < 1e-4, "{x} {y}");
        assert!((width - 20.0).abs() < 1e-4 && (height - 20.0).abs() < 1e-4, "{width} {height}");
        assert_eq!(label, "class 1");
        assert!((probability - 0.999_753).abs() < 1e-5, "{probability}");
    }

    #[test]
    fn of_yolos_boxes_for_one_object_the_best_stays() {
        let columns = card(DetectionStyle::YoloColumns, BoxFormat::Xyxy, BoxUnits::Pixels, ScoreActivation::None);
        // Three boxes of one class: two nearly the same, one elsewhere; a fourth is too improbable.
        let values = [
            0.0, 0.5, 10.0, 0.0, 0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 20.0, 20.0, 10.0, 10.0, 20.0, 20.0, 0.5, 0.75, 0.5,
            0.125,
        ];
        let expected = [(12.5, 0.0, 47.5, 25.0, 0.75), (60.0, 25.0, 50.0, 25.0, 0.5)];
        let told = found(&columns, &[("boxes", &[1, 5, 4], &values)]);
        let told: Vec<_> =
            told.iter().map(|(x, y, w, h, label, p)| (assert_eq!(label, "cat"), (*x, *y, *w, *h, *p)).1).collect();
        assert_eq!(told, expected);
        let objectness = card(DetectionStyle::YoloObjectness, BoxFormat::Xyxy, BoxUnits::Pixels, ScoreActivation::None);
        let told = found(&objectness, &[("boxes", &[1, 1, 6], &[0.0, 0.0, 20.0, 20.0, 0.5, 0.75])]);
        assert_eq!(told, [(10.0, 0.0, 100.0, 50.0, "cat".to_owned(), 0.375)]);
        // Raw scores: the box's own has to go through the logistic function as well.
        let raw = DetectionCard { activation: ScoreActivation::Sigmoid, ..objectness };
        let told = found(&raw, &[("boxes", &[1, 1, 6], &[0.0, 0.0, 20.0, 20.0, 0.0, 40.0])]);
        assert_eq!(told[0].5, 0.5);
    }

    #[test]
    fn one_box_is_the_same_in_every_format_and_unit() {
        let (fractions, pixels) = (BoxUnits::Normalized, BoxUnits::Pixels);
        for (format, units, numbers) in [
            (BoxFormat::Xyxy, fractions, [0.25, 0.5, 0.75, 1.0]),
            (BoxFormat::Cxcywh, fractions, [0.5, 0.75, 0.5, 0.5]),
            (BoxFormat::Xywh, fractions, [0.25, 0.5, 0.5, 0.5]),
            (BoxFormat::Xyxy, pixels, [5.0, 10.0, 15.0, 20.0]),
            (BoxFormat::Cxcywh, pixels, [10.0, 15.0, 10.0, 10.0]),
            (BoxFormat::Xywh, pixels, [5.0, 10.0, 10.0, 10.0]),
        ] {
            let card = card(DetectionStyle::Lists, format, units, ScoreActivation::None);
            let told = found(&card, &[("boxes", &[1, 1, 4], &numbers), ("scores", &[1, 1, 2], &[0.9, 0.1])]);
            assert_eq!(told, [(35.0, 25.0, 50.0, 25.0, "cat".to_owned(), 0.9)], "{format:?} {units:?}");
        }
    }

    /// As YOLO version 7 and MMDetection export their choice: of two images the first, and classes beside the boxes.
    #[test]
    fn chosen_boxes_stand_in_rows_of_a_batch_or_beside_their_classes() {
        let expected = [(35.0, 25.0, 50.0, 25.0, "class 3".to_owned(), 0.9)];
        let of_batch = card(DetectionStyle::ChosenOfBatch, BoxFormat::Xyxy, BoxUnits::Pixels, ScoreActivation::None);
        let rows = [0.0, 5.0, 10.0, 15.0, 20.0, 3.0, 0.9, 1.0, 0.0, 0.0, 5.0, 5.0, 1.0, 0.8];
        assert_eq!(found(&of_batch, &[("boxes", &[2, 7], &rows)]), expected);
        let scored = card(DetectionStyle::Scored, BoxFormat::Xyxy, BoxUnits::Pixels, ScoreActivation::None);
        let scored = DetectionCard { classes: "classes".to_owned(), ..scored };
        let rows = [5.0, 10.0, 15.0, 20.0, 0.9, 0.0, 0.0, 5.0, 5.0, 0.125];
        assert_eq!(found(&scored, &[("boxes", &[1, 2, 5], &rows), ("classes", &[1, 2], &[3.0, 1.0])]), expected);
        assert_eq!(found(&scored, &[("boxes", &[1, 0, 5], &[]), ("classes", &[1, 0], &[])]), []);
    }

    #[test]
    fn chosen_boxes_carry_score_and_class() {
        let card = card(DetectionStyle::Chosen, BoxFormat::Xyxy, BoxUnits::Normalized, ScoreActivation::None);
        let told =
            found(&card, &[("boxes", &[1, 2, 6], &[0.0, 0.0, 1.0, 1.0, 0.9, 3.0, 0.0, 0.0, 1.0, 1.0, 0.1, 0.0])]);
        assert_eq!(told, [(10.0, 0.0, 100.0, 50.0, "class 3".to_owned(), 0.9)]);
    }
}
