//! Names of classes: from a text file, ImageNet's, which the bundled model's card has, or COCO's.

use super::text_file::read_text;
use super::{ModelCard, default_model_path, read_model};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names beyond this are a mistake.
const MAX_LABELS: usize = 1 << 22;

/// Why a file gives no class names.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} has no class names: {reason}. Give a text file with one name per line, or a JSON list", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads class names in the order of the classes: one per line, with or without the number of a WordNet synset before it
/// (`n01440764 tench, Tinca tinca` is `tench`), a JSON list of names, or a JSON object from class numbers to names.
///
/// # Errors
/// [`LabelsError`], naming the file.
pub fn read_labels(path: &Path) -> Result<Vec<String>, LabelsError> {
    let read = |source| LabelsError::Read { path: path.to_owned(), source };
    let content = |reason: String| LabelsError::Content { path: path.to_owned(), reason };
    let text = read_text(path).map_err(|error| match error.kind() {
        io::ErrorKind::Other => content(error.to_string()),
        _ => read(error),
    })?;
    parse_labels(&text).map_err(content)
}

fn parse_labels(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let labels: Vec<String> = if text.starts_with(['[', '{']) {
        json(&serde_json::from_str(text).map_err(|error| format!("it is no JSON ({error})"))?)?
    } else {
        text.lines().map(|line| line_label(line.trim()).to_owned()).collect()
    };
    match labels.iter().position(String::is_empty) {
        _ if labels.is_empty() => Err("it is empty".into()),
        Some(line) => Err(format!("the name of class {line} is empty")),
        None => Ok(labels),
    }
}

/// A line's name: what follows a synset's number, up to the first synonym; a line without one as it is.
fn line_label(line: &str) -> &str {
    let is_synset = |word: &str| {
        word.strip_prefix('n')
            .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match line.split_once([' ', '\t']) {
        Some((word, rest)) if is_synset(word) => rest.split(',').next().unwrap_or(rest).trim(),
        _ => line,
    }
}

fn json(value: &Value) -> Result<Vec<String>, String> {
    // As `imagenet_class_index.json` has it, a name may stand in a list behind the synset's number.
    let name = |value: &Value| match value {
        Value::String(name) => Ok(name.clone()),
        Value::Array(parts) if matches!(parts.last(), Some(Value::String(_))) => {
            Ok(parts.last().and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        other => Err(format!("{other} is no name")),
    };
    match value {
        Value::Array(names) => names.iter().map(name).collect(),
        Value::Object(entries) => {
            // Configurations of Hugging Face hold it under this key.
            if let Some(inner @ Value::Object(_)) = entries.get("id2label") {
                return json(inner);
            }
            let numbered = entries.iter().map(|(class, value)| {
                let class: usize = class.parse().map_err(|_| format!("{class:?} is no number of a class"))?;
                Ok((class, name(value)?))
            });
            let numbered = numbered.collect::<Result<BTreeMap<usize, String>, String>>()?;
            let count = numbered.keys().next_back().map_or(0, |&last| last.saturating_add(1));
            if count > MAX_LABELS {
                return Err(format!("a class has the number {}", count - 1));
            }
            let missing = |class: usize| format!("class {class}");
            Ok((0..count).map(|class| numbered.get(&class).cloned().unwrap_or_else(|| missing(class))).collect())
        }
        _ => Err("it is neither a list nor an object".into()),
    }
}

/// The names of ImageNet-1k's 1,000 classes, from the bundled model's card; `None` where the program came without it.
#[must_use]
pub fn imagenet_labels() -> Option<&'static [String]> {
    static LABELS: OnceLock<Option<Vec<String>>> = OnceLock::new();
    let read = || {
        let model = read_model(&default_model_path()?).ok()?;
        let card: ModelCard = serde_json::from_str(model.metadata.get(ModelCard::METADATA_KEY)?).ok()?;
        (card.labels.len() == 1000).then_some(card.labels)
    };
    LABELS.get_or_init(read).as_deref()
}

/// The names of COCO's 80 categories of objects, in the order of their ids, as YOLO's published weights have them
/// (`assets/labels/README.md`).
#[must_use]
pub fn coco_labels() -> &'static [String] {
    static LABELS: OnceLock<Vec<String>> = OnceLock::new();
    let read = || include_str!("../../assets/labels/coco-80.txt").lines().map(str::to_owned).collect();
    LABELS.get_or_init(read)
}

/// The same by id, 0 to 90, as DETR's published weights have them: ids that COCO left out, and 0, have no name of their own.
#[must_use]
pub fn coco_labels_by_id() -> Vec<String> {
    const LEFT_OUT: [usize; 11] = [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83];
    let mut names = coco_labels().iter();
    let name = |id: usize| if LEFT_OUT.contains(&id) { None } else { names.next().cloned() };
    let names: Vec<Option<String>> = (0..=90).map(name).collect();
    names.into_iter().enumerate().map(|(id, name)| name.unwrap_or_else(|| format!("class {id}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_way_to_write_names_is_read() {
        let cases: [(&str, &[&str]); 9] = [
            ("ant\nbee\n", &["ant", "bee"]),
            ("ant\r\nbee, honey bee\r\n", &["ant", "bee, honey bee"]),
            ("n01440764 tench, Tinca tinca\nn01443537 goldfish\n", &["tench", "goldfish"]),
            ("n01440764\ttench\n", &["tench"]),
            ("nineteen cats\n", &["nineteen cats"]),
            (r#"["ant", "bee"]"#, &["ant", "bee"]),
            (r#"{"1": "bee", "0": "ant", "3": "dog"}"#, &["ant", "bee", "class 2", "dog"]),
            (r#"{"0": ["n01440764", "tench"]}"#, &["tench"]),
            (r#"{"model_type": "vit", "id2label": {"0": "ant"}}"#, &["ant"]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_labels(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_holds_no_names_is_told() {
        for (text, words) in [
            ("", "it is empty"),
            ("ant\n\nbee", "the name of class 1 is empty"),
            ("[1, 2]", "1 is no name"),
            ("{\"a\": \"b\"}", "\"a\" is no number of a class"),
            ("{\"18446744073709551615\": \"b\"}", "has the number"),
            ("[\"ant\"", "it is no JSON"),
        ] {
            let told = parse_labels(text).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        assert!(read_labels(&path).unwrap_err().to_string().contains("labels.txt cannot be read"));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read_labels(&path).unwrap_err().to_string().contains("labels.txt has no class names: it is no text"));
        fs::write(&path, "ant\nbee").unwrap();
        assert_eq!(read_labels(&path).unwrap(), ["ant", "bee"]);
    }

    #[test]
    fn the_bundled_card_has_the_classes_of_imagenet() {
        let labels = imagenet_labels().unwrap();
        assert_eq!((labels.len(), labels[0].as_str(), labels[1].as_str()), (1000, "tench", "goldfish"));
    }

    /// Ids as COCO's annotations and DETR's paper have them.
    #[test]
    fn the_classes_of_coco_have_their_numbers() {
        let (in_order, by_id) = (coco_labels(), coco_labels_by_id());
        assert_eq!((in_order.len(), by_id.len()), (80, 91));
        assert_eq!(
            (in_order[0].as_str(), in_order[15].as_str(), in_order[79].as_str()),
            ("person", "cat", "toothbrush")
        );
        for (id, name) in
            [(0, "class 0"), (1, "person"), (12, "class 12"), (13, "stop sign"), (17, "cat"), (90, "toothbrush")]
        {
            assert_eq!(by_id[id], name);
        }
    }
}
