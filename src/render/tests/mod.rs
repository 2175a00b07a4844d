//! What is drawn, pixel by pixel, on whatever adapter the machine has; without one the tests fail.

mod bars;
mod colors;
mod device;
mod heatmap;
mod shaders;
mod statistics;

use super::offscreen::{HeatmapPicture, Offscreen};
use super::{HeatmapStyle, Overlay};
use crate::routing::{LayerRouting, PatchGrid, PixelRect, RoutingTrace, TopK};
use image::RgbaImage;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// One device for all tests: opening one takes longer than drawing.
fn offscreen() -> MutexGuard<'static, Offscreen> {
    static SHARED: OnceLock<Mutex<Offscreen>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Mutex::new(Offscreen::new().expect("these tests need a graphics adapter")));
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A routing with `top_k` ranks whose gate probabilities are `probs(patch, expert)`, and whose chosen experts are
/// `chosen(patch, rank)` with combine weights `weight(patch, rank)`.
#[derive(Clone, Copy)]
struct Routing<'a> {
    tokens: usize,
    num_experts: usize,
    top_k: usize,
    chosen: &'a dyn Fn(usize, usize) -> i64,
    weight: &'a dyn Fn(usize, usize) -> f32,
    prob: &'a dyn Fn(usize, usize) -> f32,
}

impl Default for Routing<'_> {
    /// 4 × 4 patches, 3 experts, patch p chooses expert p mod 3.
    fn default() -> Self {
        Self {
            tokens: 16,
            num_experts: 3,
            top_k: 1,
            chosen: &|patch, rank| ((patch + rank) % 3) as i64,
            weight: &|_, _| 1.0,
            prob: &|_, _| 1.0 / 3.0,
        }
    }
}

impl Routing<'_> {
    fn layer(&self) -> LayerRouting {
        let table = |width: usize| {
            let tokens = self.tokens;
            (0..tokens).flat_map(move |token| (0..width).map(move |column| (token, column)))
        };
        let probs = table(self.num_experts).map(|(patch, expert)| (self.prob)(patch, expert)).collect();
        let chosen: Vec<_> = table(self.top_k).map(|(patch, rank)| (self.chosen)(patch, rank)).collect();
        let weights = table(self.top_k).map(|(patch, rank)| (self.weight)(patch, rank)).collect();
        let top_k = TopK::new(self.top_k, self.num_experts).unwrap();
        LayerRouting::new("test", self.num_experts, top_k, probs, &chosen, weights).unwrap()
    }

    fn trace(&self) -> RoutingTrace {
        RoutingTrace { layers: vec![self.layer()] }
    }
}

/// Exact colours: no lines, no dimming, full opacity.
fn plain(overlay: Overlay) -> HeatmapStyle {
    HeatmapStyle { overlay, opacity: 1.0, grid_lines: false, dim_outside: false, ..HeatmapStyle::default() }
}

const FIRST_CHOICE: Overlay = Overlay::ChosenExpert { rank: 0 };

/// A grid over the whole of an image.
fn whole(rows: usize, cols: usize, [width, height]: [u32; 2]) -> PatchGrid {
    PatchGrid { rows, cols, seen: PixelRect { x: 0.0, y: 0.0, width: width as f32, height: height as f32 } }
}

/// A 64 × 64 image in one colour, drawn pixel by pixel, with 4 × 4 patches of 16 × 16 pixels over it.
fn draw(routing: &Routing<'_>, style: HeatmapStyle) -> RgbaImage {
    draw_on(&[120, 130, 140, 255].repeat(64 * 64), whole(4, 4, [64, 64]), routing, style)
}

fn draw_on(rgba: &[u8], grid: PatchGrid, routing: &Routing<'_>, style: HeatmapStyle) -> RgbaImage {
    let trace = routing.trace();
    let picture = HeatmapPicture { image_size: [64, 64], rgba, trace: &trace, layer: 0, grid, style };
    offscreen().draw_heatmap(&picture, [64, 64]).unwrap()
}

fn rgb(picture: &RgbaImage, x: u32, y: u32) -> [u8; 3] {
    let [r, g, b, alpha] = picture.get_pixel(x, y).0;
    assert_eq!(alpha, 255, "the background is opaque");
    [r, g, b]
}
