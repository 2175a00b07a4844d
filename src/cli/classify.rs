//! `moescope classify`: predictions and routing of images, as text, JSON Lines and `.npy` files.

use super::args::{ClassifyArgs, ModelArgs};
use super::change;
use super::console::{Output, complain, output};
use super::dump;
use super::failure::Failure;
use super::load::{Session, Source, SourceAnalysis};
use super::record::Record;
use super::text;
use crate::analysis::Setting;
use anyhow::Context;
use std::io::Write;
use std::path::Path;

/// Classifies each image; one that fails is named, and the others go on.
pub(super) fn run(args: &ClassifyArgs, model: &ModelArgs) -> Result<(), Failure> {
    let mut session = Session::open(model)?;
    let setting = Setting { top_k: session.top_k(args.top_k)?, change: change::wished(args, &session)? };
    let setting = session.model.checked(&session.engine, setting)?;
    if let Some(assumption) = session.model.assumption().filter(|_| !args.json) {
        complain(&format_args!("{}: {assumption}", session.model.path.display()));
    }
    let folders = args.dump.as_deref().map(|folder| dump::folders(folder, &args.images));
    let mut out = output();
    let mut failed = false;
    for (index, path) in args.images.iter().enumerate() {
        let folder = folders.as_ref().map(|folders| folders[index].as_path());
        let source = Source::of(Some(path));
        match session.analyse_with(&source, setting.clone()).and_then(|result| dumped(&session, folder, path, result)) {
            Ok(result) => report(&mut out, &session, path, &result, args.json)?,
            Err(error) => {
                failed = true;
                complain(&format_args!("{error:#}"));
            }
        }
    }
    if failed { Err(Failure::Inputs) } else { Ok(()) }
}

/// Writes the tensors of the run, if they are wanted.
fn dumped(
    session: &Session,
    folder: Option<&Path>,
    image: &Path,
    result: SourceAnalysis,
) -> anyhow::Result<SourceAnalysis> {
    if let Some(folder) = folder {
        let analysis = &result.analysis;
        let setting = Setting { top_k: analysis.top_k, change: analysis.change.clone() };
        let request = session.model.request(&session.engine, &result.tensor, &setting)?;
        let about = dump::About { image, model: &session.model, analysis };
        dump::write(folder, &about, &request.inputs, &result.run.outputs)
            .with_context(|| image.display().to_string())?;
    }
    Ok(result)
}

/// Writes one image's result at once, so that a reader sees it while the next image runs.
fn report(
    out: &mut Output,
    session: &Session,
    path: &Path,
    result: &SourceAnalysis,
    json: bool,
) -> Result<(), Failure> {
    if json {
        serde_json::to_writer(&mut *out, &Record::new(path, &session.model, &result.analysis))
            .map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        text::write(out, path, &session.model, &result.analysis)?;
    }
    Ok(out.flush()?)
}
