// Counts how many (token, rank) pairs chose each expert of a layer.

@group(0) @binding(0) var<storage, read> experts: array<u32>;
@group(0) @binding(1) var<storage, read_write> loads: array<atomic<u32>>;

// A stride over the whole dispatch, because a dimension holds at most 65,535 workgroups.
@compute @workgroup_size(64)
fn count_loads(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    let assignments = arrayLength(&experts);
    let num_experts = arrayLength(&loads);
    for (var i = id.x; i < assignments; i += workgroups.x * 64u) {
        let expert = experts[i];
        if expert < num_experts {
            atomicAdd(&loads[expert], 1u);
        }
    }
}
