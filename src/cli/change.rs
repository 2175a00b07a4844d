//! `--ban` and `--drop-rank`: from a layer and a number on the command line to a change of the routing.

use super::args::ClassifyArgs;
use super::failure::Failure;
use super::load::Session;
use crate::analysis::{ChangeError, OpenModel, RoutingChange};
use crate::routing::ExpertIdx;
use serde::Serialize;
use std::str::FromStr;

/// `LAYER:NUMBER`, a layer by its number from 1 on or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerPick {
    layer: String,
    number: u32,
}

impl FromStr for LayerPick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once(':').and_then(|(layer, number)| Some((layer, number.parse().ok()?)));
        let (layer, number) =
            parts.filter(|(layer, _)| !layer.is_empty()).ok_or("a layer and a number are needed, such as 2:3")?;
        Ok(Self { layer: layer.to_owned(), number })
    }
}

/// What the command line changes about the routing of the open model.
pub(super) fn wished(args: &ClassifyArgs, session: &Session) -> Result<RoutingChange, Failure> {
    let mut change = RoutingChange::default();
    for pick in &args.ban {
        let layer = layer(&session.model, &pick.layer)?;
        change.edit(layer, |change| change.banned.extend([ExpertIdx(pick.number)]));
    }
    for pick in &args.drop_rank {
        let layer = layer(&session.model, &pick.layer)?;
        let rank = (pick.number as usize).checked_sub(1);
        let rank = rank.ok_or_else(|| Failure::Usage("--drop-rank: ranks are counted from 1".to_owned()))?;
        change.edit(layer, |change| change.left_out.extend([rank]));
    }
    Ok(change)
}

/// A layer of the model, from 0: by its number from 1 on, or by its name.
fn layer(model: &OpenModel, text: &str) -> Result<usize, Failure> {
    let (count, layer) = (model.layers.len(), text.to_owned());
    let number = text.parse::<usize>().ok().filter(|number| (1..=count).contains(number));
    let by_name = || model.layers.iter().position(|layer| layer.card.name == text);
    let found = number.map(|number| number - 1).or_else(by_name);
    found.ok_or_else(|| Failure::Usage(ChangeError::Layer { layer, count }.to_string()))
}

/// One changed layer, as `docs/classify-json.md` describes it.
#[derive(Serialize)]
pub(super) struct LayerChangeRecord<'a> {
    layer: usize,
    name: &'a str,
    banned: Vec<u32>,
    ranks_left_out: Vec<usize>,
}

/// The changed layers of a run.
pub(super) fn records<'a>(model: &'a OpenModel, change: &RoutingChange) -> Vec<LayerChangeRecord<'a>> {
    let record = |(layer, change): (usize, &crate::analysis::LayerChange)| LayerChangeRecord {
        layer: layer + 1,
        name: model.layers.get(layer).map_or("", |layer| &layer.card.name),
        banned: change.banned.iter().map(|expert| expert.0).collect(),
        ranks_left_out: change.left_out.iter().map(|rank| rank + 1).collect(),
    };
    change.layers().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_is_a_layer_and_a_number() {
        let pick = |layer: &str, number| Ok(LayerPick { layer: layer.to_owned(), number });
        assert_eq!("2:3".parse(), pick("2", 3));
        assert_eq!("/blocks.1/moe:gate:0".parse(), pick("/blocks.1/moe:gate", 0));
        for bad in ["", "3", ":3", "2:", "2:x", "2:-1"] {
            assert!(bad.parse::<LayerPick>().is_err(), "{bad}");
        }
    }
}
