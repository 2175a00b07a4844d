//! Where each layer's routing and statistics lie in the two GPU buffers of an analysis, in the order that
//! shaders/layer.wgsl and shaders/layer_stats.wgsl name. All layers share a buffer, so that an analysis is one upload.

use super::RenderError;
use super::layout::LayerShape;
use std::ops::Range;

/// Words in front of a layer's routing: T, E, k, and whether gate probabilities are there.
pub(super) const HEADER: usize = 4;
/// Words in front of a layer's statistics.
pub(super) const TOTALS: usize = 8;
const WORD: u64 = size_of::<u32>() as u64;

/// One layer's places, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub shape: LayerShape,
    pub routing: Range<u64>,
    pub stats: Range<u64>,
}

/// All layers' places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sections {
    pub layers: Vec<Section>,
    /// Sizes of the two buffers in bytes.
    pub routing_size: u64,
    pub stats_size: u64,
    pub has_gate_probs: bool,
}

impl Sections {
    /// Lays layers out. Gate probabilities, and the weights of slots behind them, are by far the most of a layer with many
    /// experts: where they do not fit, all layers go without.
    ///
    /// # Errors
    /// [`RenderError::TooLarge`] when the rest does not fit either.
    pub fn new(shapes: &[LayerShape], limits: &wgpu::Limits) -> Result<Self, RenderError> {
        let whole = Self::laid_out(shapes, limits, true);
        if whole.check(limits).is_ok() {
            return Ok(whole);
        }
        let reduced = Self::laid_out(shapes, limits, false);
        reduced.check(limits).map(|()| reduced)
    }

    fn laid_out(shapes: &[LayerShape], limits: &wgpu::Limits, has_gate_probs: bool) -> Self {
        let alignment = u64::from(limits.min_storage_buffer_offset_alignment);
        let (mut routing_size, mut stats_size) = (0, 0);
        let place = |size: &mut u64, words: u64| {
            let start = size.next_multiple_of(alignment);
            *size = start + words * WORD;
            start..*size
        };
        let without_slots = |shape: LayerShape| LayerShape { num_slots: 0, ..shape };
        let shapes = shapes.iter().map(|&shape| if has_gate_probs { shape } else { without_slots(shape) });
        let layers = shapes.map(|shape| Section {
            shape,
            routing: place(&mut routing_size, routing_words(shape, has_gate_probs && shape.has_gate_probs)),
            stats: place(&mut stats_size, TOTALS as u64 + 2 * u64::from(shape.num_experts)),
        });
        Self { layers: layers.collect(), routing_size, stats_size, has_gate_probs }
    }

    /// Whether one of its layers has gate probabilities on the GPU.
    pub fn has_gate_probs_of(&self, section: &Section) -> bool {
        self.has_gate_probs && section.shape.has_gate_probs
    }

    fn check(&self, limits: &wgpu::Limits) -> Result<(), RenderError> {
        let (at_once, at_all) = (limits.max_storage_buffer_binding_size, limits.max_buffer_size);
        let sections = self.layers.iter().flat_map(|section| [&section.routing, &section.stats]);
        let largest = sections.map(|range| range.end - range.start).max().unwrap_or(0);
        let size = self.routing_size.max(self.stats_size);
        match (largest, size) {
            (bytes, _) if bytes > at_once => Err(RenderError::TooLarge { bytes, limit: at_once }),
            (_, bytes) if bytes > at_all => Err(RenderError::TooLarge { bytes, limit: at_all }),
            _ => Ok(()),
        }
    }

    /// Bytes that the layers' gate probabilities take or would take.
    pub fn gate_prob_bytes(&self) -> u64 {
        let with = self.layers.iter().filter(|section| section.shape.has_gate_probs);
        with.map(|section| gate_probs(section.shape) * WORD).sum()
    }
}

fn routing_words(shape: LayerShape, has_gate_probs: bool) -> u64 {
    let [tokens, experts, top_k] = [shape.num_tokens, shape.num_experts, shape.top_k].map(u64::from);
    let without = HEADER as u64 + experts + tokens * (3 * top_k + 2);
    let slots = 2 * tokens * u64::from(shape.num_slots);
    without + slots + if has_gate_probs { gate_probs(shape) } else { 0 }
}

fn gate_probs(shape: LayerShape) -> u64 {
    u64::from(shape.num_tokens) * u64::from(shape.num_experts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn shape(num_tokens: u32, num_experts: u32, top_k: u32) -> LayerShape {
        LayerShape { num_tokens, num_experts, top_k, has_gate_probs: true, num_slots: 0 }
    }

    fn limits(binding: u64, buffer: u64) -> wgpu::Limits {
        wgpu::Limits {
            max_storage_buffer_binding_size: binding,
            max_buffer_size: buffer,
            min_storage_buffer_offset_alignment: 256,
            ..wgpu::Limits::default()
        }
    }

    #[test]
    fn sections_are_aligned_and_do_not_overlap() {
        let shapes = [shape(0, 1, 1), shape(196, 8, 2), shape(1, 1, 1), shape(7, 4096, 3)];
        let sections = Sections::new(&shapes, &limits(128 * MIB, 256 * MIB)).unwrap();
        assert!(sections.has_gate_probs);
        for pair in sections.layers.windows(2) {
            assert!(pair[0].routing.end <= pair[1].routing.start && pair[0].stats.end <= pair[1].stats.start);
        }
        for Section { routing, stats, .. } in &sections.layers {
            assert!(routing.start.is_multiple_of(256) && stats.start.is_multiple_of(256));
            assert!(!routing.is_empty() && !stats.is_empty());
        }
        // 196 tokens × (8 gate probabilities + 3 × 2 + 2), 8 colours and the header.
        let second = &sections.layers[1].routing;
        assert_eq!(second.end - second.start, 4 * (196 * 16 + 8 + 4));
    }

    #[test]
    fn slots_come_and_go_with_the_gate_probabilities() {
        let slots = |num_slots| LayerShape { num_slots, ..shape(196, 64, 64) };
        let size = |num_slots, binding| {
            let sections = Sections::new(&[slots(num_slots)], &limits(binding, 256 * MIB)).unwrap();
            (sections.routing_size, sections.layers[0].shape.num_slots)
        };
        let (without, _) = size(0, 128 * MIB);
        assert_eq!(size(196, 128 * MIB), (without + 4 * 2 * 196 * 196, 196));
        let gate_probs = 4 * 196 * 64;
        assert_eq!(size(196, without), (without - gate_probs, 0), "there is room for neither");
    }

    #[test]
    fn gate_probabilities_are_left_out_where_they_do_not_fit() {
        let million = [shape(196, 1_000_000, 8)];
        let reduced = Sections::new(&million, &limits(128 * MIB, 256 * MIB)).unwrap();
        assert!(!reduced.has_gate_probs);
        assert_eq!(reduced.gate_prob_bytes(), 4 * 196_000_000);
        assert!(Sections::new(&million, &limits(1024 * MIB, 1024 * MIB)).unwrap().has_gate_probs);
        // Each layer could be bound, but all of them together exceed the largest buffer.
        let many = [shape(1024, 16_384, 1); 8];
        assert!(!Sections::new(&many, &limits(128 * MIB, 256 * MIB)).unwrap().has_gate_probs);
    }

    #[test]
    fn what_never_fits_is_refused_with_the_numbers() {
        let refused = Sections::new(&[shape(1, 1_000_000, 1)], &limits(MIB, 256 * MIB));
        assert_eq!(refused, Err(RenderError::TooLarge { bytes: 4 * (2 * 1_000_000 + 8), limit: MIB }));
        let together = Sections::new(&[shape(1, 100_000, 1); 8], &limits(MIB, 2 * MIB));
        assert!(matches!(together, Err(RenderError::TooLarge { limit, .. }) if limit == 2 * MIB));
    }
}
