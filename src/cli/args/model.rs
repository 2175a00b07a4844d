//! Which model, on what it runs, and how far it is trusted: flags of every command and of the window.

use super::values::{positive, provider, provider_or_auto, seconds};
use crate::engine::{Execution, Precision, Provider, ProviderChoice, ProviderOptions, ProviderWish};
use std::path::PathBuf;
use std::time::Duration;

/// Which model, and how it is run.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ModelArgs {
    /// The ONNX model [default: the bundled one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(in crate::cli) model: Option<PathBuf>,
    /// ONNX Runtime's library [default: ORT_DYLIB_PATH, else beside the program, else the build's copy]
    #[arg(long, global = true, value_name = "FILE")]
    pub(in crate::cli) ort_library: Option<PathBuf>,
    /// Threads of one run [default: one per physical core]
    #[arg(long, global = true, value_name = "N", value_parser = positive())]
    pub(in crate::cli) threads: Option<usize>,
    #[command(flatten)]
    pub(in crate::cli) provider: ProviderArgs,
    #[command(flatten)]
    pub(in crate::cli) isolation: IsolationArgs,
}

impl ModelArgs {
    /// How the model shall run.
    pub(in crate::cli) fn execution(&self) -> Execution {
        Execution { threads: self.threads, provider: self.provider.wish() }
    }
}

/// On what the model is run.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProviderArgs {
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
pub(in crate::cli) struct IsolationArgs {
    /// Whether models run in processes of their own, apart from the program and locked in; off is for debugging
    #[arg(long, global = true, value_name = "ON|OFF", default_value = "on")]
    pub(in crate::cli) isolate: Switch,
    /// Stops a model that takes longer to load [default: 120]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(in crate::cli) load_deadline: Option<Duration>,
    /// Stops a model whose run takes longer [default: 60]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(in crate::cli) run_deadline: Option<Duration>,
    /// Memory that a model may take, in MiB [default: three quarters of the machine's]
    #[arg(long, global = true, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    pub(in crate::cli) memory_limit: Option<u64>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Switch {
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Args;
    use clap::Parser;

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
}
