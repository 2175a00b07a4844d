// Statistics of one layer, computed once when its routing is uploaded, from the very buffer that the heatmap is drawn
// from, into the one that the charts are drawn from. 32-bit words: the totals, the loads [E], the importances [E]. The
// numbers that the window prints are the CPU's; these only draw.

@group(0) @binding(1) var<storage, read_write> stats: array<atomic<u32>>;

const INVOCATIONS = 128u;
// sum_importance: neighbouring experts lie next to each other in memory, so a row of invocations reads them together.
const TILE = 8u;
const LANES = 16u;
// Sums of so many values are added up, not single values: the rounding error grows with the sum of both counts instead
// of their product.
const BLOCK = 64u;

var<workgroup> sums: array<f32, 128>;
var<workgroup> peaks: array<f32, 128>;
var<workgroup> counts: array<vec3u, 128>;

// How many (token, rank) pairs chose each expert. A stride over the whole dispatch, here and below, because a dimension
// holds at most 65,535 workgroups.
@compute @workgroup_size(128)
fn count_loads(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    let num_experts = routing[1];
    let assignments = routing[0] * routing[2];
    for (var i = id.x; i < assignments; i += workgroups.x * INVOCATIONS) {
        let expert = routing[HEADER + num_experts + i];
        if expert < num_experts {
            atomicAdd(&stats[TOTALS + expert], 1u);
        }
    }
}

// The sum of each expert's gate probabilities over all tokens; values that are not finite are left out.
@compute @workgroup_size(8, 16)
fn sum_importance(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let num_tokens = routing[0];
    let num_experts = routing[1];
    let gate_probs = HEADER + num_experts + num_tokens * (3u * routing[2] + 2u);
    let tiles = (num_experts + TILE - 1u) / TILE;
    for (var tile = workgroup.x; tile < tiles; tile += workgroups.x) {
        let expert = tile * TILE + local.x;
        var sum = 0.0;
        if expert < num_experts {
            for (var first = local.y; first < num_tokens; first += LANES * BLOCK) {
                var block = 0.0;
                let end = min(first + LANES * BLOCK, num_tokens);
                for (var token = first; token < end; token += LANES) {
                    let bits = routing[gate_probs + token * num_experts + expert];
                    if is_finite(bits) {
                        block += bitcast<f32>(bits);
                    }
                }
                sum += block;
            }
        }
        sums[local.y * TILE + local.x] = sum;
        workgroupBarrier();
        for (var lanes = LANES / 2u; lanes > 0u; lanes >>= 1u) {
            if local.y < lanes {
                sums[local.y * TILE + local.x] += sums[(local.y + lanes) * TILE + local.x];
            }
            workgroupBarrier();
        }
        if local.y == 0u && expert < num_experts {
            atomicStore(&stats[TOTALS + num_experts + expert], bitcast<u32>(sums[local.x]));
        }
        workgroupBarrier();
    }
}

// Sums and largest values over the experts. One workgroup, after the other two have run.
@compute @workgroup_size(128)
fn total(@builtin(local_invocation_id) local: vec3u) {
    let num_experts = routing[1];
    var count = vec3u(0u);
    var sum = 0.0;
    var peak = 0.0;
    for (var first = local.x; first < num_experts; first += INVOCATIONS * BLOCK) {
        var block = 0.0;
        let end = min(first + INVOCATIONS * BLOCK, num_experts);
        for (var expert = first; expert < end; expert += INVOCATIONS) {
            let load = atomicLoad(&stats[TOTALS + expert]);
            let importance = bitcast<f32>(atomicLoad(&stats[TOTALS + num_experts + expert]));
            count = vec3u(count.x + load, max(count.y, load), count.z + select(0u, 1u, load == 0u));
            block += importance;
            peak = max(peak, importance);
        }
        sum += block;
    }
    counts[local.x] = count;
    sums[local.x] = sum;
    peaks[local.x] = peak;
    workgroupBarrier();
    for (var others = INVOCATIONS / 2u; others > 0u; others >>= 1u) {
        if local.x < others {
            let mine = counts[local.x];
            let theirs = counts[local.x + others];
            counts[local.x] = vec3u(mine.x + theirs.x, max(mine.y, theirs.y), mine.z + theirs.z);
            sums[local.x] += sums[local.x + others];
            peaks[local.x] = max(peaks[local.x], peaks[local.x + others]);
        }
        workgroupBarrier();
    }
    if local.x == 0u {
        atomicStore(&stats[TOTAL_LOAD], counts[0].x);
        atomicStore(&stats[LARGEST_LOAD], counts[0].y);
        atomicStore(&stats[DEAD_EXPERTS], counts[0].z);
        atomicStore(&stats[TOTAL_IMPORTANCE], bitcast<u32>(sums[0]));
        atomicStore(&stats[LARGEST_IMPORTANCE], bitcast<u32>(peaks[0]));
    }
}
