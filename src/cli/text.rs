//! The result of one image for people.

use super::console::Plain;
use crate::analysis::{Analysis, OpenModel};
use std::io::{self, Write};
use std::path::Path;

/// Layers with more experts are told by their measures alone.
const MAX_LISTED_EXPERTS: usize = 16;

/// Writes predictions, for each layer how its experts were used, and what is odd about it.
pub(super) fn write(out: &mut impl Write, image: &Path, model: &OpenModel, analysis: &Analysis) -> io::Result<()> {
    let out = &mut Plain(out);
    let top_k = analysis.top_k.map_or(String::new(), |top_k| format!(" · top-k {top_k}"));
    let millis = analysis.seconds.inference * 1e3;
    let provider = analysis.provider.name();
    writeln!(out, "{} · {}{top_k} · {provider} {millis:.1} ms", image.display(), model.card.name)?;
    if !analysis.change.is_none() {
        writeln!(out, "  Changed routing: {}; not what the model does by itself", analysis.change_in_words())?;
    }
    for prediction in &analysis.predictions {
        writeln!(out, "  {:5.1} %  {} ({})", prediction.probability * 100.0, prediction.label, prediction.index)?;
    }
    write_layers(out, analysis)?;
    for oddity in analysis.oddities(model) {
        writeln!(out, "  ! {oddity}")?;
    }
    Ok(())
}

fn write_layers(out: &mut impl Write, analysis: &Analysis) -> io::Result<()> {
    if analysis.layers.is_empty() {
        return writeln!(out, "  no routers are known in this model");
    }
    let width = analysis.trace.layers.iter().map(|layer| layer.name().chars().count()).max().unwrap_or(0);
    for (routing, stats) in analysis.trace.layers.iter().zip(&analysis.layers) {
        let (load, measures) = (&stats.balance.load, &stats.balance.load_stats);
        write!(out, "  {:width$}  ", routing.name())?;
        if load.len() <= MAX_LISTED_EXPERTS {
            let counts: Vec<String> = load.iter().map(|count| format!("{count:3}")).collect();
            write!(out, "load {}  ", counts.join(" "))?;
        }
        let (cv, effective, dead) = (measures.cv, measures.effective_experts, measures.dead);
        writeln!(out, "CV {cv:.2}  {effective:.1} of {} experts in effect, {dead} dead", load.len())?;
    }
    Ok(())
}
