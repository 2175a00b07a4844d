//! What can be written on the command line.

use crate::engine::{Execution, Precision, Provider, ProviderChoice, ProviderOptions, ProviderWish, Runtime};
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

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

/// Which model, and how it is run.
#[derive(Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// The ONNX model [default: the bundled one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) model: Option<PathBuf>,
    /// ONNX Runtime's library [default: ORT_DYLIB_PATH, else beside the program, else the build's copy]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ort_library: Option<PathBuf>,
    /// Threads of one run [default: one per physical core]
    #[arg(long, global = true, value_name = "N", value_parser = positive())]
    pub(super) threads: Option<usize>,
    #[command(flatten)]
    pub(super) provider: ProviderArgs,
    #[command(flatten)]
    pub(super) isolation: IsolationArgs,
}

impl ModelArgs {
    /// How the model shall run.
    pub(super) fn execution(&self) -> Execution {
        Execution { threads: self.threads, provider: self.provider.wish() }
    }
}

/// On what the model is run.
#[derive(Debug, clap::Args)]
pub(super) struct ProviderArgs {
    /// Runs the model on this provider, or on the CPU where it does not start [default: auto, the first that is
    /// installed and starts]
    #[arg(long, global = true, value_name = "NAME", value_parser = provider_or_auto())]
    provider: Option<String>,
    /// Runs the model on this provider and fails where it does not start
    #[arg(long, global = true, value_name = "NAME", value_parser = provider(), conflicts_with = "provider")]
    require_provider: Option<Provider>,
    /// Index of the provider's device [default: the provider's choice]
    #[arg(long, global = true, value_name = "N")]
    device: Option<u32>,
    /// How exactly the provider computes [default: full]
    #[arg(long, global = true, value_name = "PRECISION")]
    precision: Option<PrecisionArg>,
    /// Folder in which the provider keeps compiled kernels [default: none are kept]
    #[arg(long, global = true, value_name = "DIR")]
    provider_cache: Option<PathBuf>,
}

impl ProviderArgs {
    fn wish(&self) -> ProviderWish {
        let preferred = self.provider.as_deref().and_then(|name| name.parse().ok());
        let choice = match (self.require_provider, preferred) {
            (Some(provider), _) => ProviderChoice::Require(provider),
            (None, Some(provider)) => ProviderChoice::Prefer(provider),
            (None, None) => ProviderChoice::Auto,
        };
        let precision = match self.precision {
            Some(PrecisionArg::Half) => Precision::Half,
            Some(PrecisionArg::Full) | None => Precision::Full,
        };
        let options = ProviderOptions { device: self.device, precision, cache: self.provider_cache.clone() };
        ProviderWish { choice, options }
    }
}

/// Precision of a provider.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PrecisionArg {
    /// As the model says
    Full,
    /// 16-bit floats
    Half,
}

/// How far a model is trusted.
#[derive(Debug, clap::Args)]
pub(super) struct IsolationArgs {
    /// Whether models run in processes of their own, apart from the program and locked in; off is for debugging
    #[arg(long, global = true, value_name = "ON|OFF", default_value = "on")]
    pub(super) isolate: Switch,
    /// Stops a model that takes longer to load [default: 120]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(super) load_deadline: Option<Duration>,
    /// Stops a model whose run takes longer [default: 60]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(super) run_deadline: Option<Duration>,
    /// Memory that a model may take, in MiB [default: three quarters of the machine's]
    #[arg(long, global = true, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    pub(super) memory_limit: Option<u64>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

/// For the window.
#[derive(Debug, clap::Args)]
pub(super) struct WindowArgs {
    /// Images to open
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// Opens the window, waits for the result, saves what it shows, and quits
    #[arg(long, value_name = "PNG")]
    pub(super) screenshot: Option<PathBuf>,
    #[command(flatten)]
    pub(super) shot: ShotArgs,
    /// Experts per patch to start with [default: the model's]
    #[arg(long, value_name = "K", value_parser = positive())]
    pub(super) top_k: Option<usize>,
    /// MoE layer to start with, counted from 1
    #[arg(long, value_name = "L", value_parser = positive())]
    pub(super) layer: Option<usize>,
}

/// What a screenshot shows.
#[derive(Debug, clap::Args)]
pub(super) struct ShotArgs {
    /// Size of the window in points
    #[arg(long, requires = "screenshot", value_name = "WxH", default_value = "1280x800", value_parser = size)]
    pub(super) size: [u32; 2],
    /// Light or dark [default: as the system has it]
    #[arg(long, requires = "screenshot", value_name = "THEME")]
    pub(super) theme: Option<ThemeArg>,
    /// Opens this part of the window first
    #[arg(long, requires = "screenshot", value_name = "SHEET")]
    pub(super) show: Option<SheetArg>,
    /// Pixels per point
    #[arg(long, requires = "screenshot", value_name = "S", default_value_t = 1.0, value_parser = scale)]
    pub(super) scale: f32,
}

/// Colours of the window.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum ThemeArg {
    Light,
    Dark,
}

/// What lies over the window.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum SheetArg {
    /// Everything about the model
    Model,
    /// How the model is fed
    Card,
    /// The comparison with another provider
    Comparison,
    /// The keyboard shortcuts
    Shortcuts,
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

fn provider() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(Provider::ALL.map(Provider::id)).try_map(|name| name.parse::<Provider>())
}

fn runtime() -> impl TypedValueParser<Value = Runtime> {
    PossibleValuesParser::new(Runtime::ALL.map(Runtime::name)).try_map(|name| name.parse::<Runtime>())
}

fn provider_or_auto() -> PossibleValuesParser {
    PossibleValuesParser::new(["auto"].into_iter().chain(Provider::ALL.map(Provider::id)))
}

/// A whole number from 1 on.
fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// `1280x800`
fn size(text: &str) -> Result<[u32; 2], String> {
    let parse = |side: &str| side.parse::<u32>().ok().filter(|side| (1..=16_384).contains(side));
    text.split_once(['x', 'X', '×'])
        .and_then(|(width, height)| Some([parse(width)?, parse(height)?]))
        .ok_or_else(|| "write it as WIDTHxHEIGHT, such as 1280x800".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| (0.1..=86_400.0).contains(&seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds between 0.1 and 86400 is needed".to_owned())
}

fn scale(text: &str) -> Result<f32, String> {
    let scale = text.parse::<f32>().ok().filter(|scale| (0.25..=8.0).contains(scale));
    scale.ok_or_else(|| "a number between 0.25 and 8 is needed".to_owned())
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
    fn a_provider_is_required_preferred_or_left_to_the_program() {
        for (line, expected) in [
            ("classify a", ProviderChoice::Auto),
            ("classify a --provider auto", ProviderChoice::Auto),
            ("classify a --provider cuda", ProviderChoice::Prefer(Provider::Cuda)),
            ("--require-provider webgpu classify a", ProviderChoice::Require(Provider::WebGpu)),
        ] {
            let args = Args::try_parse_from(["moescope"].into_iter().chain(line.split(' '))).unwrap();
            assert_eq!(args.model.execution().provider.choice, expected, "{line}");
        }
        let args = Args::try_parse_from(["moescope", "--device", "2", "--precision", "half"]).unwrap();
        let options = args.model.execution().provider.options;
        assert_eq!((options.device, options.precision), (Some(2), Precision::Half));
    }

    /// A value that is also the name of a command would be taken for that.
    #[test]
    fn every_sheet_can_be_shown() {
        for sheet in <SheetArg as clap::ValueEnum>::value_variants() {
            let name = clap::ValueEnum::to_possible_value(sheet).unwrap();
            let line = ["moescope", "--screenshot", "p", "--show", name.get_name()];
            assert!(Args::try_parse_from(line).is_ok_and(|args| args.command.is_none()), "{line:?}");
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
