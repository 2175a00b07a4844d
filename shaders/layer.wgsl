// The routing of one layer, as uploaded by buffers.rs. T tokens, E experts, k chosen per token.

// [T, k], the best first.
@group(1) @binding(0) var<storage, read> experts: array<u32>;
// Bits of f32, so that NaN arrives as it is: combine weights [T, k], entropy [T], margin [T], gate probabilities [T, E].
@group(1) @binding(1) var<storage, read> value_bits: array<u32>;
// [E], counted by load_count.wgsl.
@group(1) @binding(2) var<storage, read> loads: array<u32>;
// RGBA8: the experts' colours [E], and again those of the chosen experts [T, k], so that a pixel needs one look-up.
@group(1) @binding(3) var<storage, read> colors: array<u32>;

fn expert_color(expert: u32) -> vec3f {
    return unpack4x8unorm(colors[expert]).rgb;
}

// Shader compilers may assume that no float is NaN; its bits cannot be assumed away.
fn is_finite(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}
