// The routing of one layer, as buffers.rs writes it. T tokens, E experts, k chosen per token. 32-bit words:
// T, E, k, 1 or 0 for with or without gate probabilities; then, one after the other,
// the experts' colours [E] as RGBA8, the chosen experts [T, k] (the best first), their combine weights [T, k], and their
// colours [T, k], so that a pixel needs one look-up; entropy [T], margin [T], gate probabilities [T, E];
// where experts have slots, N of all experts, their dispatch weights [T, N] and combine weights [T, N].
// Values are bits of f32, so that NaN arrives as it is.

@group(0) @binding(0) var<storage, read> routing: array<u32>;

const HEADER = 4u;
// Words of the totals in front of a layer's statistics; see layer_stats.wgsl.
const TOTALS = 8u;
const TOTAL_LOAD = 0u;
const LARGEST_LOAD = 1u;
const DEAD_EXPERTS = 2u;
const TOTAL_IMPORTANCE = 3u;
const LARGEST_IMPORTANCE = 4u;

fn expert_color(expert: u32) -> vec3f {
    return unpack4x8unorm(routing[HEADER + expert]).rgb;
}

// Shader compilers may assume that no float is NaN; its bits cannot be assumed away.
fn is_finite(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}
