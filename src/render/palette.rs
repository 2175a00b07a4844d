//! One colour per expert, the same in the heatmap, the bars, the legend and every report.

use super::palette_table::EXPERT_COLORS;
use crate::routing::LayerRouting;

/// The sRGB colour of an expert. The first 64 come from a table whose first 8, and then first 20, lie as far apart as
/// colours can, also for colour-blind people; beyond, hue and lightness go around, and only a number can tell experts apart.
#[must_use]
pub fn expert_color(expert: u32) -> [u8; 3] {
    EXPERT_COLORS.get(expert as usize).copied().unwrap_or_else(|| cycled_color(expert))
}

/// Which experts of a layer have a colour, and which. Nobody tells thousands of colours apart, so with more experts than
/// the table has colours only the busiest have one, each another of the most distinct ones, and the rest is grey. An expert
/// prefers the same colour in every layer and at every top-k; a busier one that prefers it too comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerPalette {
    /// Experts in the order of their numbers, with their places in the table; `None` where each has its own.
    busiest: Option<Vec<(u32, usize)>>,
}

impl LayerPalette {
    /// As many experts have a colour each.
    pub const ALL_COLORED: usize = EXPERT_COLORS.len();
    /// How many are coloured where there are more: as many as the table keeps far apart.
    pub const BUSIEST: usize = 20;
    /// The colour of the rest: no colour of any expert, and visible on light and dark ground.
    pub const REST: [u8; 3] = [128, 130, 134];

    /// From the load of each expert `[E]`.
    #[must_use]
    pub fn of(load: &[u64]) -> Self {
        Self { busiest: (load.len() > Self::ALL_COLORED).then(|| Self::places(&busiest_experts(load, Self::BUSIEST))) }
    }

    fn places(busiest: &[u32]) -> Vec<(u32, usize)> {
        let mut free = [true; Self::BUSIEST];
        let mut take = |expert: u32| {
            let preferred = expert as usize % Self::BUSIEST;
            let place = (preferred..Self::BUSIEST).chain(0..preferred).find(|&place| free[place]).unwrap_or(preferred);
            free[place] = false;
            (expert, place)
        };
        let mut places: Vec<_> = busiest.iter().map(|&expert| take(expert)).collect();
        places.sort_unstable();
        places
    }

    /// From a layer's routing.
    pub(super) fn of_routing(routing: &LayerRouting) -> Self {
        if routing.num_experts() <= Self::ALL_COLORED {
            return Self::default();
        }
        let mut load = vec![0; routing.num_experts()];
        routing.assignments().for_each(|(expert, _)| load[expert.0 as usize] += 1);
        Self::of(&load)
    }

    /// The sRGB colour of an expert in this layer.
    #[must_use]
    pub fn color(&self, expert: u32) -> [u8; 3] {
        let Some(busiest) = &self.busiest else { return expert_color(expert) };
        let found = busiest.binary_search_by_key(&expert, |&(expert, _)| expert);
        found.map_or(Self::REST, |at| EXPERT_COLORS[busiest[at].1])
    }
}

/// The experts with the largest loads, the busiest first and ties by their numbers; none without load, `count` at most.
#[must_use]
pub fn busiest_experts(load: &[u64], count: usize) -> Vec<u32> {
    let busier = |&a: &u32, &b: &u32| load[b as usize].cmp(&load[a as usize]).then(a.cmp(&b));
    let mut experts: Vec<u32> = (0..load.len() as u32).filter(|&expert| load[expert as usize] > 0).collect();
    if count < experts.len() {
        experts.select_nth_unstable_by(count, busier);
        experts.truncate(count);
    }
    experts.sort_unstable_by(busier);
    experts
}

/// Black or white, whichever is easier to read on a colour (the higher WCAG contrast).
#[must_use]
pub fn text_color_on(color: [u8; 3]) -> [u8; 3] {
    let luminance = relative_luminance(color);
    let (on_black, on_white) = ((luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05));
    if on_black >= on_white { [0; 3] } else { [255; 3] }
}

/// Hue by the golden angle, so that neighbours differ, and lightness and chroma in steps of other periods.
fn cycled_color(expert: u32) -> [u8; 3] {
    const GOLDEN_ANGLE: f64 = 2.399_963_229_728_653;
    let lightness = [0.70, 0.52, 0.82, 0.61][expert as usize % 4];
    let chroma = [0.14, 0.09, 0.12][expert as usize % 3];
    srgb_from_oklch(lightness, chroma, f64::from(expert) * GOLDEN_ANGLE)
}

/// Björn Ottosson's OKLab, with colours outside of sRGB clipped.
fn srgb_from_oklch(lightness: f64, chroma: f64, hue: f64) -> [u8; 3] {
    let (b, a) = (chroma * hue.sin(), chroma * hue.cos());
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
    .map(|linear| (encode_srgb(linear.clamp(0.0, 1.0)) * 255.0).round() as u8)
}

fn encode_srgb(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// Linear light of an sRGB byte, 0 to 1.
fn decode_srgb(byte: u8) -> f64 {
    let value = f64::from(byte) / 255.0;
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn relative_luminance([r, g, b]: [u8; 3]) -> f64 {
    0.2126 * decode_srgb(r) + 0.7152 * decode_srgb(g) + 0.0722 * decode_srgb(b)
}
