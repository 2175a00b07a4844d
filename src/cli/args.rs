//! What can be written on the command line.

mod model;
mod values;
mod window;

pub(super) use model::{ModelArgs, Switch};
pub(super) use window::WindowArgs;
#[cfg(feature = "gui")]
pub(super) use window::{SheetArg, ThemeArg};

use super::change::LayerPick;
use crate::engine::Runtime;
use std::ffi::OsString;
use std::path::PathBuf;
#[cfg(feature = "gui")]
use values::size;
use values::{positive, runtime};

/// See which expert of a Mixture-of-Experts vision model handled each patch of an image
///
/// Without a command the window opens. Exit codes: 0 done, 1 some inputs failed (each named on standard error), 2 usage.
#[derive(Debug, clap::Parser)]
#[command(name = "moescope", version, subcommand_precedence_over_arg = true)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
}

/// The headless commands.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Classifies images and tells which experts handled them
    Classify(ClassifyArgs),
    /// Measures how long each stage takes
    Bench(BenchArgs),
    /// Compares the CPU's results with those of another provider, precision, number of threads or file of the model
    Parity(ParityArgs),
    /// Tells what an ONNX file says about itself, and where its routers are, without running it
    Inspect(InspectArgs),
    /// Tells which of a model's nodes run on which provider
    Placement(PlacementArgs),
    /// Lists, installs, removes and examines builds of ONNX Runtime for other providers than the CPU
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Draws the heatmap of one layer into a PNG, with the window's shaders
    #[cfg(feature = "gui")]
    Render(RenderArgs),
    /// Runs one model for the program that started it
    #[command(hide = true)]
    Engine(EngineArgs),
    /// Finds out what the process of a model can do
    #[command(hide = true)]
    ProbeIsolation(ProbeArgs),
}

/// `moescope probe-isolation`
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// A file in the folder that the process is locked in with
    pub(super) locked_in_with: PathBuf,
    /// A file in another folder
    pub(super) other: PathBuf,
}

/// `moescope engine`: what the program tells the process that it starts for a model.
#[derive(Debug, clap::Args)]
pub(super) struct EngineArgs {
    /// Where a run's inputs come from
    #[arg(long)]
    pub(super) inputs: OsString,
    /// Where a run's outputs go
    #[arg(long)]
    pub(super) outputs: OsString,
    /// Memory that the process may take
    #[arg(long)]
    pub(super) memory_bytes: Option<u64>,
}

/// `moescope classify`
#[derive(Debug, clap::Args)]
pub(super) struct ClassifyArgs {
    /// Images to classify
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// Experts per patch [default: the model's]
    #[arg(long, value_name = "K", value_parser = positive())]
    pub(super) top_k: Option<usize>,
    /// Changes the routing: in this layer (its number from 1 on, or its name) no patch may choose this expert, from 0
    #[arg(long, value_name = "LAYER:EXPERT", value_delimiter = ',')]
    pub(super) ban: Vec<LayerPick>,
    /// Changes the routing: in this layer the experts of this rank, from 1, have no weight
    #[arg(long, value_name = "LAYER:RANK", value_delimiter = ',')]
    pub(super) drop_rank: Vec<LayerPick>,
    /// One JSON object per image and line, as docs/classify-json.md describes
    #[arg(long)]
    pub(super) json: bool,
    /// Writes every input and output of the run as .npy, with an index.json; a folder for each image if there are several
    #[arg(long, value_name = "DIR")]
    pub(super) dump: Option<PathBuf>,
}

/// `moescope inspect`
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// The ONNX file
    #[arg(value_name = "MODEL")]
    pub(super) file: PathBuf,
    /// The tensors that may be gates of routers, the likeliest first; those that a word means, or all
    #[arg(long, value_name = "WORDS", num_args = 0..=1)]
    pub(super) tensors: Option<Option<String>>,
    /// One JSON object, as docs/inspect-json.md describes
    #[arg(long)]
    pub(super) json: bool,
}

/// `moescope bench`
#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// The image [default: a bundled sample]
    #[arg(value_name = "IMAGE")]
    pub(super) image: Option<PathBuf>,
    /// Experts per patch [default: the model's]
    #[arg(long, value_name = "K", value_parser = positive())]
    pub(super) top_k: Option<usize>,
    /// Number of measured runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive())]
    pub(super) runs: usize,
    /// One JSON object, with the seconds of every run
    #[arg(long)]
    pub(super) json: bool,
}

/// `moescope parity`
#[derive(Debug, clap::Args)]
pub(super) struct ParityArgs {
    /// Images to run
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// Another file of the same model, such as one in half precision [default: the same file]
    #[arg(long, value_name = "FILE")]
    pub(super) against: Option<PathBuf>,
    /// Experts per patch [default: the model's]
    #[arg(long, value_name = "K", value_parser = positive())]
    pub(super) top_k: Option<usize>,
    /// One JSON object per image and line
    #[arg(long)]
    pub(super) json: bool,
}

/// `moescope placement`
#[derive(Debug, clap::Args)]
pub(super) struct PlacementArgs {
    /// One JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// `moescope runtime`
#[derive(Debug, clap::Subcommand)]
pub(super) enum RuntimeCommand {
    /// Lists the builds that there are and those that are installed
    List {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Brings a build through `pip` and checks it
    Install {
        /// Its name
        #[arg(value_name = "NAME", value_parser = runtime())]
        runtime: Runtime,
    },
    /// Removes an installed build
    Remove {
        /// Its name
        #[arg(value_name = "NAME", value_parser = runtime())]
        runtime: Runtime,
    },
    /// Starts every provider and tells which do not start, why, and what to do; exit code 1 when an installed one does not
    Doctor {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// `moescope render`
#[cfg(feature = "gui")]
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("view").args(["rank", "expert", "entropy", "margin"]))]
pub(super) struct RenderArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub(super) image: PathBuf,
    /// MoE layer to show, by its number from 1 on or by its name
    #[arg(long, value_name = "L")]
    pub(super) layer: String,
    /// The file to write
    #[arg(long, value_name = "PNG")]
    pub(super) out: PathBuf,
    /// Size of the picture in pixels [default: the image's]
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(super) size: Option<[u32; 2]>,
    /// Chosen experts of this rank, counted from 1 [default: 1]
    #[arg(long, value_name = "R", value_parser = positive())]
    pub(super) rank: Option<usize>,
    /// Gate probability of this expert, counted from 0
    #[arg(long, value_name = "E")]
    pub(super) expert: Option<u32>,
    /// Gate entropy
    #[arg(long)]
    pub(super) entropy: bool,
    /// Gate margin
    #[arg(long)]
    pub(super) margin: bool,
    /// Experts per patch [default: the model's]
    #[arg(long, value_name = "K", value_parser = positive())]
    pub(super) top_k: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn model_flags_may_stand_before_or_after_the_command() {
        for line in ["moescope --model m classify a", "moescope classify a --model m", "moescope a --model m"] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(args.model.model, Some("m".into()), "{line}");
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "classify",
            "classify a --top-k 0",
            "classify a --top-k two",
            "bench --runs 0",
            "--size 1x1",
            "--screenshot p --size 10",
            "--screenshot p --scale 0",
            "--threads 0",
            "--load-deadline 0",
            "--run-deadline soon",
            "--memory-limit 1",
            "--isolate maybe",
            "--unknown",
            "--provider gpu",
            "--provider cpu --require-provider cpu",
            "runtime install gpu",
        ] {
            let words = ["moescope"].into_iter().chain(line.split(' '));
            assert_eq!(Args::try_parse_from(words).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
