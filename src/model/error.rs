//! Why a model file cannot be used, told so that a person can act on it.

use super::external::place_of_missing;
use std::path::PathBuf;

/// Why a model file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("cannot open {}: {reason}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The file is not an ONNX model.
    #[error("{} is not an ONNX model: it is {found}. {remedy}", .path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
        /// The step that helps.
        remedy: String,
    },
    /// There is a model card, but it is wrong.
    #[error("the model card in {} is not valid: {reason}. models/README.md describes the card", .place.display())]
    Card {
        /// The model, or the sidecar file.
        place: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no model card, and the graph does not say enough to do without.
    #[error(
        "{} has no model card, and {reason}. Write a card to {} (models/README.md describes it)",
        .path.display(), .sidecar.display()
    )]
    NoCard {
        /// The model.
        path: PathBuf,
        /// What the graph does not say.
        reason: String,
        /// Where a card would be found.
        sidecar: PathBuf,
    },
    /// The file holds messages inside of messages, deeper than any program writes them.
    #[error("{} is nested too deeply to be read: it was damaged or made to do harm. Get the file again from where it came from", .path.display())]
    TooDeep {
        /// The file.
        path: PathBuf,
    },
    /// No version of ONNX Runtime could run the graph.
    #[error("{} is not a valid model: {fault}. Get the file again, or export it again with a newer version of the program that made it", .path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: GraphFault,
    },
    /// Weights lie in another file, and that cannot be used.
    #[error("{} keeps the values of {} in the file {}, {fault}", .path.display(), quoted(.tensor), quoted(.location))]
    External {
        /// The file.
        path: PathBuf,
        /// Name of the weight.
        tensor: String,
        /// The other file, as the model names it.
        location: String,
        /// What is wrong.
        fault: ExternalFault,
    },
    /// The model was written for a newer ONNX Runtime.
    #[error(
        "{} needs a newer ONNX Runtime: it was written with {part} {found}, and this version takes up to {supported}. Export \
         it again with {part} {supported} or older",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which version: of the file format, or of an operator set.
        part: String,
        /// The version in the file.
        found: i64,
        /// The newest that is supported.
        supported: i64,
    },
    /// The model uses operators that ONNX Runtime does not have.
    #[error(
        "{} uses operators that ONNX Runtime does not know: {}. Libraries of custom operators are never loaded because a \
         model asks for them; export the model with standard operators",
        .path.display(), listed(.operators)
    )]
    Operators {
        /// The file.
        path: PathBuf,
        /// Each with its domain, or with the version that has it.
        operators: Vec<String>,
    },
}

impl ModelError {
    /// Where a file of weights has to be put for the model to open, where one is missing and that place is safe.
    #[must_use]
    pub fn missing_file(&self) -> Option<PathBuf> {
        match self {
            Self::External { path, location, fault: ExternalFault::Missing { .. }, .. } => {
                place_of_missing(path, location)
            }
            _ => None,
        }
    }
}

/// Why no version of ONNX Runtime could run a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphFault {
    /// Nothing of what it computes comes out.
    #[error("its graph has no outputs")]
    NoOutputs,
    /// Two inputs or nodes give the same value.
    #[error("the value {} has two sources", quoted(.value))]
    TwoSources {
        /// The value.
        value: String,
    },
    /// Two nodes of one graph have the same name.
    #[error("two nodes have the name {}", quoted(.name))]
    NodeName {
        /// The name.
        name: String,
    },
    /// Nodes wait for each other.
    #[error("its nodes wait for each other in a circle: {}", circle(.nodes))]
    Circle {
        /// The nodes, each needed by the next, the last one by the first.
        nodes: Vec<String>,
    },
    /// Two functions have the same name.
    #[error("the function {} is there twice", quoted(.function))]
    FunctionTwice {
        /// The function.
        function: String,
    },
    /// A function calls itself.
    #[error("its functions call each other in a circle: {}", circle(.functions))]
    Recursion {
        /// The functions, each called by the next, the last one by the first.
        functions: Vec<String>,
    },
    /// Functions call functions that call functions.
    #[error("its functions unfold to {nodes} nodes; {possible} are possible")]
    TooManyNodes {
        /// How many.
        nodes: u64,
        /// How many are possible.
        possible: u64,
    },
    /// A tensor has a negative size or more bytes than can be counted.
    #[error("the tensor {} has the impossible shape {}", quoted(.tensor), shape(.dims))]
    Dims {
        /// The tensor.
        tensor: String,
        /// Its sizes.
        dims: Vec<i64>,
    },
    /// A node makes a tensor that fits no machine.
    #[error("the node {} asks for a tensor of shape {}, which no machine can hold", quoted(.node), shape(.dims))]
    TooLarge {
        /// The node.
        node: String,
        /// The sizes.
        dims: Vec<i64>,
    },
}

/// Why a file with weights cannot be used; completes "keeps its values in the file …, ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternalFault {
    /// The model does not say which file.
    #[error("but gives no name. Export the model again")]
    Unnamed,
    /// The name leads out of the model's folder.
    #[error(
        "which is not inside of the model's folder. Put it beside the model and export the model with a plain file name"
    )]
    Outside,
    /// The file is not there.
    #[error("which is missing. Put it into the folder {}; it comes with the model, often as a second download", .folder.display())]
    Missing {
        /// The model's folder.
        folder: PathBuf,
    },
    /// The file cannot be looked at.
    #[error("which cannot be read: {reason}")]
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// It is a folder, a pipe or a device.
    #[error("which is not a regular file. Put the file itself there")]
    NotAFile,
    /// It is a symbolic link.
    #[error("which is a symbolic link and may lead anywhere. Put the file itself there")]
    SymbolicLink,
    /// The same file is also somewhere else.
    #[error("which is a hard link: the same file has other names elsewhere. Put a copy of it there")]
    HardLink,
    /// Offset or length is no number.
    #[error("but the {key} there is {text:?}, not a number. Export the model again")]
    NotANumber {
        /// `offset` or `length`.
        key: &'static str,
        /// What the model says.
        text: String,
    },
    /// The values would lie beyond the end of the file.
    #[error(
        "which is too short: {needed} bytes from byte {offset} on are needed, and it has {file_bytes}. Get the file again \
         from where it came from"
    )]
    TooShort {
        /// Where the values begin.
        offset: u64,
        /// Bytes of the values.
        needed: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },
}

/// A name from an untrusted file: in quotes, without control characters, and not longer than a message can be.
fn quoted(name: &str) -> String {
    const MOST: usize = 80;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// The first few of many names.
fn first<'a>(
    names: &'a [String],
    most: usize,
    show: impl Fn(&str) -> String + 'a,
) -> impl Iterator<Item = String> + 'a {
    let more = names.len().saturating_sub(most);
    let more = (more > 0).then(|| format!("and {more} more"));
    names.iter().take(most).map(move |name| show(name)).chain(more)
}

fn listed(names: &[String]) -> String {
    first(names, 16, |name| name.chars().filter(|c| !c.is_control()).take(80).collect()).collect::<Vec<_>>().join(", ")
}

fn circle(names: &[String]) -> String {
    first(names, 6, quoted).collect::<Vec<_>>().join(" → ")
}

fn shape(dims: &[i64]) -> String {
    let dims: Vec<String> = dims.iter().map(i64::to_string).collect();
    format!("[{}]", first(&dims, 8, str::to_owned).collect::<Vec<_>>().join(", "))
}
