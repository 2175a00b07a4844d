//! With what the window opens, and what a screenshot of it shows.

use super::values::{positive, scale, size};
use std::path::PathBuf;

/// For the window.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WindowArgs {
    /// Images to open
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) images: Vec<PathBuf>,
    /// Opens the window, waits for the result, saves what it shows, and quits
    #[arg(long, value_name = "PNG")]
    pub(in crate::cli) screenshot: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) shot: ShotArgs,
    /// Experts per patch to start with [default: the model's]
    #[arg(long, value_name = "K", value_parser = positive())]
    pub(in crate::cli) top_k: Option<usize>,
    /// MoE layer to start with, counted from 1
    #[arg(long, value_name = "L", value_parser = positive())]
    pub(in crate::cli) layer: Option<usize>,
}

/// What a screenshot shows.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShotArgs {
    /// Size of the window in points
    #[arg(long, requires = "screenshot", value_name = "WxH", default_value = "1280x800", value_parser = size)]
    pub(in crate::cli) size: [u32; 2],
    /// Light or dark [default: as the system has it]
    #[arg(long, requires = "screenshot", value_name = "THEME")]
    pub(in crate::cli) theme: Option<ThemeArg>,
    /// Opens this part of the window first
    #[arg(long, requires = "screenshot", value_name = "SHEET")]
    pub(in crate::cli) show: Option<SheetArg>,
    /// Pixels per point
    #[arg(long, requires = "screenshot", value_name = "S", default_value_t = 1.0, value_parser = scale)]
    pub(in crate::cli) scale: f32,
}

/// Colours of the window.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum ThemeArg {
    Light,
    Dark,
}

/// What lies over the window.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum SheetArg {
    /// Everything about the model
    Model,
    /// How the model is fed
    Card,
    /// The comparison with another provider
    Comparison,
    /// The keyboard shortcuts
    Shortcuts,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Args;
    use clap::{Parser, ValueEnum};

    /// A value that is also the name of a command would be taken for that.
    #[test]
    fn every_sheet_can_be_shown() {
        for sheet in SheetArg::value_variants() {
            let name = sheet.to_possible_value().unwrap();
            let line = ["moescope", "--screenshot", "p", "--show", name.get_name()];
            assert!(Args::try_parse_from(line).is_ok_and(|args| args.command.is_none()), "{line:?}");
        }
    }
}
