//! What the shaders ask of a device. The default limits of egui's device leave out storage buffers on OpenGL and cap
//! textures at half of what most adapters take, so the window and [`offscreen`](super::offscreen) use this descriptor.

use super::RenderError;
use super::pipelines::{STORAGE_BUFFERS, WORKGROUP_SIZE};

/// A device with all that the adapter has, and no optional feature.
#[must_use]
pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    wgpu::DeviceDescriptor { label: Some("moescope device"), required_limits: adapter.limits(), ..Default::default() }
}

/// Checks the limits that the pipelines rely on, because a pipeline that exceeds them would end the program.
pub(super) fn check(device: &wgpu::Device) -> Result<(), RenderError> {
    let limits = device.limits();
    let has_compute = limits.max_compute_workgroup_size_x >= WORKGROUP_SIZE
        && limits.max_compute_invocations_per_workgroup >= WORKGROUP_SIZE
        && limits.max_compute_workgroups_per_dimension > 0;
    if limits.max_storage_buffers_per_shader_stage < STORAGE_BUFFERS {
        Err(RenderError::Unsupported { missing: "storage buffers" })
    } else if !has_compute {
        Err(RenderError::Unsupported { missing: "compute shaders" })
    } else {
        Ok(())
    }
}
