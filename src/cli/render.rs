//! `moescope render`: the heatmap of one layer as a PNG, by the shaders of the window.

use super::args::{ModelArgs, RenderArgs};
use super::failure::Failure;
use super::load::{Session, Source};
use crate::analysis::Analysis;
use crate::render::offscreen::{HeatmapPicture, Offscreen};
use crate::render::{HeatmapStyle, Overlay};
use crate::report::write_whole;
use crate::routing::LayerIdx;
use anyhow::Context;
use image::codecs::png::PngEncoder;
use std::path::Path;

/// Sides of a picture that nobody sized; larger photos are drawn smaller.
const MAX_SIDE: u32 = 4096;

pub(super) fn run(args: &RenderArgs, model: &ModelArgs) -> Result<(), Failure> {
    let mut session = Session::open(model)?;
    let top_k = session.top_k(args.top_k)?;
    let layer = layer(args, &session)?;
    let overlay = overlay(args, &session, layer, top_k)?;
    let result = session.analyse(&Source::of(Some(&args.image)), top_k)?;
    draw(&result.analysis, layer, overlay, args).with_context(|| format!("cannot draw {}", args.out.display()))?;
    Ok(())
}

/// The layer that was asked for, from 0: by its number from 1 on, or by its name.
fn layer(args: &RenderArgs, session: &Session) -> Result<usize, Failure> {
    let layers = &session.model.layers;
    if layers.is_empty() {
        let model = session.model.path.display();
        return Err(Failure::Fatal(anyhow::anyhow!("no routers are known in {model}, so there is no heatmap of it")));
    }
    let number = args.layer.parse::<usize>().ok().filter(|number| (1..=layers.len()).contains(number));
    let by_number = number.map(|number| number - 1);
    by_number.or_else(|| layers.iter().position(|layer| layer.card.name == args.layer)).ok_or_else(|| {
        let names: Vec<String> =
            layers.iter().zip(1..).map(|(layer, number)| format!("{number} ({})", layer.card.name)).collect();
        Failure::Usage(format!("--layer {} is not one of {}", args.layer, names.join(", ")))
    })
}

/// What is drawn over the photo, checked against the layer.
fn overlay(args: &RenderArgs, session: &Session, layer: usize, top_k: Option<usize>) -> Result<Overlay, Failure> {
    let num_experts = session.model.layers[layer].card.num_experts;
    let rank = args.rank.unwrap_or(1);
    match args.expert {
        _ if args.entropy => Ok(Overlay::Entropy),
        _ if args.margin => Ok(Overlay::Margin),
        Some(expert) if expert as usize >= num_experts => {
            Err(Failure::Usage(format!("--expert {expert}: this layer has the experts 0 to {}", num_experts - 1)))
        }
        Some(expert) => Ok(Overlay::GateProb { expert }),
        None if top_k.is_some_and(|top_k| rank > top_k) => {
            Err(Failure::Usage(format!("--rank {rank} is beyond the top-k {}", top_k.unwrap_or(0))))
        }
        None => Ok(Overlay::ChosenExpert { rank: rank - 1 }),
    }
}

fn draw(analysis: &Analysis, layer: usize, overlay: Overlay, args: &RenderArgs) -> anyhow::Result<()> {
    let image = &analysis.image;
    // Layers that could not be read are left out of a result, and a router in a loop is there more than once.
    let layer = analysis.places.iter().position(|place| place.source == layer);
    let layer = layer.with_context(|| analysis.unreadable.join("; "))?;
    let grid = analysis.grid(LayerIdx(layer)).context("the tokens of this layer have no place on the image")?;
    let picture = HeatmapPicture {
        image_size: [image.width, image.height],
        rgba: &image.rgba,
        trace: &analysis.trace,
        layer,
        grid,
        style: HeatmapStyle { overlay, ..HeatmapStyle::default() },
    };
    let size = args.size.unwrap_or_else(|| natural_size(picture.image_size));
    save_png(&args.out, &Offscreen::new()?.draw_heatmap(&picture, size)?)
}

fn save_png(path: &Path, picture: &image::RgbaImage) -> anyhow::Result<()> {
    write_whole(path, |out| Ok(picture.write_with_encoder(PngEncoder::new(out))?))
}

/// The photo's own size, or smaller in proportion.
fn natural_size(image: [u32; 2]) -> [u32; 2] {
    let scale = (f64::from(MAX_SIDE) / f64::from(image[0].max(image[1]))).min(1.0);
    image.map(|side| ((f64::from(side) * scale).round() as u32).max(1))
}

#[cfg(test)]
mod tests {
    use super::natural_size;

    #[test]
    fn large_photos_are_drawn_smaller_in_proportion() {
        assert_eq!(natural_size([640, 427]), [640, 427]);
        assert_eq!(natural_size([8192, 4096]), [4096, 2048]);
        assert_eq!(natural_size([20_000, 1]), [4096, 1]);
    }
}
