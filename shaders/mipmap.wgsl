// Halves a photo for the next mip level with a box filter that is exact for odd sizes too: each axis takes 2 texels, or
// 3 weighted ones where the size is odd.

@group(0) @binding(0) var larger: texture_2d<f32>;

@vertex
fn cover_viewport(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
    let corner = vec2f(vec2u((vertex << 1u) & 2u, vertex & 2u));
    return vec4f(corner * 2.0 - 1.0, 0.0, 1.0);
}

// The part of source texels 2i, 2i + 1 and 2i + 2 in target texel i.
fn weights(i: u32, source_size: u32) -> vec3f {
    if source_size == 1u {
        return vec3f(1.0, 0.0, 0.0);
    }
    if source_size % 2u == 0u {
        return vec3f(0.5, 0.5, 0.0);
    }
    let half_size = source_size / 2u;
    return vec3f(f32(half_size - i), f32(half_size), f32(i + 1u)) / f32(source_size);
}

@fragment
fn halve(@builtin(position) position: vec4f) -> @location(0) vec4f {
    let size = textureDimensions(larger);
    let target_texel = vec2u(position.xy);
    let wx = weights(target_texel.x, size.x);
    let wy = weights(target_texel.y, size.y);
    var sum = vec4f(0.0);
    for (var y = 0u; y < 3u; y++) {
        for (var x = 0u; x < 3u; x++) {
            let weight = wx[x] * wy[y];
            if weight > 0.0 {
                let texel = textureLoad(larger, min(2u * target_texel + vec2u(x, y), size - 1u), 0);
                // Light adds up, sRGB values do not. A gamma of 2 is close to sRGB's curve and far cheaper.
                sum += weight * vec4f(texel.rgb * texel.rgb, texel.a);
            }
        }
    }
    return vec4f(sqrt(sum.rgb), sum.a);
}
