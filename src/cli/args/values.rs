//! What a value on the command line may be. A wrong one is refused with what is possible.

use crate::engine::{Provider, Runtime};
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use std::time::Duration;

pub(super) fn provider() -> impl TypedValueParser<Value = Provider> {
    PossibleValuesParser::new(Provider::ALL.map(Provider::id)).try_map(|name| name.parse::<Provider>())
}

pub(super) fn runtime() -> impl TypedValueParser<Value = Runtime> {
    PossibleValuesParser::new(Runtime::ALL.map(Runtime::name)).try_map(|name| name.parse::<Runtime>())
}

pub(super) fn provider_or_auto() -> PossibleValuesParser {
    PossibleValuesParser::new(["auto"].into_iter().chain(Provider::ALL.map(Provider::id)))
}

/// A whole number from 1 on.
pub(super) fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// `1280x800`
pub(super) fn size(text: &str) -> Result<[u32; 2], String> {
    let parse = |side: &str| side.parse::<u32>().ok().filter(|side| (1..=16_384).contains(side));
    text.split_once(['x', 'X', '×'])
        .and_then(|(width, height)| Some([parse(width)?, parse(height)?]))
        .ok_or_else(|| "write it as WIDTHxHEIGHT, such as 1280x800".to_owned())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| (0.1..=86_400.0).contains(&seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds between 0.1 and 86400 is needed".to_owned())
}

pub(super) fn scale(text: &str) -> Result<f32, String> {
    let scale = text.parse::<f32>().ok().filter(|scale| (0.25..=8.0).contains(scale));
    scale.ok_or_else(|| "a number between 0.25 and 8 is needed".to_owned())
}
