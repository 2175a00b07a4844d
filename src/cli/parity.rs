//! `moescope parity`: the same images on the CPU and on another provider, with other threads, in another precision, or
//! through another file of the model.

use super::args::{ModelArgs, ParityArgs};
use super::console::{Output, Plain, complain, output};
use super::failure::Failure;
use super::load::{Session, Source};
use crate::analysis::{Analysis, LayerParity, Parity};
use crate::engine::{Execution, Provider, ProviderChoice};
use anyhow::Context;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// How many flips of a layer are named in the text; JSON has all.
const MAX_NAMED_FLIPS: usize = 5;

/// What is printed as JSON.
#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    image: String,
    reference: Side<'a>,
    other: Side<'a>,
    num_flips: usize,
    largest_flipped_margin: Option<f32>,
    #[serde(flatten)]
    parity: &'a Parity,
}

/// One of the two results.
#[derive(Serialize)]
struct Side<'a> {
    model: &'a Path,
    provider: Provider,
    threads: Option<usize>,
    top_k: Option<usize>,
    inference_secs: f64,
    best_class: Option<&'a str>,
}

pub(super) fn run(args: &ParityArgs, model: &ModelArgs) -> Result<(), Failure> {
    let execution = other_execution(args, model)?;
    let mut reference = Session::open_as(model, None, &Execution::on(Provider::Cpu))?;
    let mut other = Session::open_as(model, args.against.as_deref(), &execution)?;
    let top_k = reference.top_k(args.top_k)?;
    other.top_k(args.top_k)?;
    let mut out = output();
    let mut failed = false;
    for path in &args.images {
        match compare(&reference, &other, path, top_k) {
            Ok((a, b, parity)) => {
                let record = Record {
                    schema: "moescope-parity/1",
                    image: path.to_string_lossy().into_owned(),
                    reference: side(&reference, &a, None),
                    other: side(&other, &b, execution.threads),
                    num_flips: parity.num_flips(),
                    largest_flipped_margin: parity.largest_flipped_margin(),
                    parity: &parity,
                };
                report(&mut out, &record, args.json)?;
            }
            Err(error) => {
                failed = true;
                complain(&format_args!("{error:#}"));
            }
        }
    }
    if failed { Err(Failure::Inputs) } else { Ok(()) }
}

/// How the second result is computed. The provider is required: falling back to the CPU would compare it with itself.
fn other_execution(args: &ParityArgs, model: &ModelArgs) -> Result<Execution, Failure> {
    let mut execution = model.execution();
    let wish = &mut execution.provider;
    wish.choice = match wish.choice {
        ProviderChoice::Prefer(provider) | ProviderChoice::Require(provider) => ProviderChoice::Require(provider),
        ProviderChoice::Auto if args.against.is_some() || execution.threads.is_some() => {
            ProviderChoice::Require(Provider::Cpu)
        }
        ProviderChoice::Auto => {
            return Err(Failure::Usage(
                "name what to compare the CPU with: --provider NAME, --threads N, or --against FILE".to_owned(),
            ));
        }
    };
    Ok(execution)
}

fn compare(
    reference: &Session,
    other: &Session,
    path: &Path,
    top_k: Option<usize>,
) -> anyhow::Result<(Analysis, Analysis, Parity)> {
    let source = Source::of(Some(path));
    let a = reference.analyse(&source, top_k)?.analysis;
    let b = other.analyse(&source, top_k)?.analysis;
    let parity = Parity::of(&a, &b).with_context(|| source.to_string())?;
    Ok((a, b, parity))
}

fn side<'a>(session: &'a Session, analysis: &'a Analysis, threads: Option<usize>) -> Side<'a> {
    Side {
        model: &session.model.path,
        provider: analysis.provider,
        threads,
        top_k: analysis.top_k,
        inference_secs: analysis.seconds.inference,
        best_class: analysis.predictions.first().map(|prediction| prediction.label.as_str()),
    }
}

fn report(out: &mut Output, record: &Record<'_>, json: bool) -> Result<(), Failure> {
    if json {
        serde_json::to_writer(&mut *out, record).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_text(&mut Plain(&mut *out), record)?;
    }
    Ok(out.flush()?)
}

fn write_text(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    let Record { image, reference, other, parity, .. } = record;
    let millis = |side: &Side<'_>| format!("{} {:.1} ms", side.provider, side.inference_secs * 1e3);
    writeln!(out, "{image} · {} against {}", millis(reference), millis(other))?;
    let (best, other_best) = (reference.best_class.unwrap_or("none"), other.best_class.unwrap_or("none"));
    let class = match parity.same_best_class {
        true => format!("the same best class, {best}"),
        false => format!("ANOTHER best class: {best}, {other_best}"),
    };
    writeln!(out, "  {class}; logits differ by {:.1e} at most", parity.max_logit_difference)?;
    let width = parity.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0);
    parity.layers.iter().try_for_each(|layer| write_layer(out, layer, width))
}

fn write_layer(out: &mut impl Write, layer: &LayerParity, width: usize) -> io::Result<()> {
    let LayerParity { name, num_patches, flips, max_gate_difference, .. } = layer;
    writeln!(
        out,
        "  {name:width$}  {} of {num_patches} patches changed experts; gates differ by {max_gate_difference:.1e} at most",
        flips.len()
    )?;
    let experts = |experts: &[crate::routing::ExpertIdx]| {
        experts.iter().map(|expert| expert.0.to_string()).collect::<Vec<_>>().join(" ")
    };
    for flip in flips.iter().take(MAX_NAMED_FLIPS) {
        let (from, to) = (experts(&flip.from), experts(&flip.to));
        writeln!(out, "  {:width$}    patch {}: {from} → {to} at a margin of {:.1e}", "", flip.patch.0, flip.margin)?;
    }
    if flips.len() > MAX_NAMED_FLIPS {
        let bins = layer.by_margin.iter().filter(|bin| bin.patches > 0);
        let bins: Vec<String> = bins
            .map(|bin| match bin.below {
                below if below.is_finite() => format!("{} of {} below {below:.0e}", bin.flipped, bin.patches),
                _ => format!("{} of {} above", bin.flipped, bin.patches),
            })
            .collect();
        writeln!(out, "  {:width$}    by margin: {}", "", bins.join(", "))?;
    }
    Ok(())
}
