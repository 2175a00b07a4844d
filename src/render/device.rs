//! Which adapter draws, and what the shaders ask of a device. The default limits of egui's device leave out storage
//! buffers on OpenGL and cap textures at half of what most adapters take, so the window and
//! [`offscreen`](super::offscreen) use this descriptor.

use super::RenderError;
use super::pipelines::{STATS_INVOCATIONS, STATS_STORAGE, STORAGE_BUFFERS};

/// Which graphics adapters may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapters {
    /// The one that draws fastest, among those that offer what the shaders need if there are any.
    Best,
    /// Only those that draw on the CPU.
    Software,
}

/// Chooses an adapter that can draw on a surface.
///
/// # Errors
/// What was found and what to install, where none fits.
pub fn choose_adapter(
    found: &[wgpu::Adapter],
    surface: Option<&wgpu::Surface<'_>>,
    adapters: Adapters,
    preference: wgpu::PowerPreference,
) -> Result<wgpu::Adapter, RenderError> {
    let rank = |adapter: &wgpu::Adapter| {
        let draws = surface.is_none_or(|surface| adapter.is_surface_supported(surface));
        let has_storage = adapter.limits().max_storage_buffers_per_shader_stage >= STORAGE_BUFFERS;
        rank(adapter.get_info().device_type, has_storage, adapters, preference).filter(|_| draws)
    };
    let ranked = found.iter().filter_map(|adapter| Some((rank(adapter)?, adapter)));
    // The first of equals: wgpu lists native backends before OpenGL.
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, adapter)| adapter.clone()).ok_or_else(|| {
        let names: Vec<String> = found.iter().map(|adapter| adapter.get_info().name).collect();
        let reason = if names.is_empty() {
            "there is no driver".to_owned()
        } else {
            format!("none of these can draw here: {}", names.join(", "))
        };
        RenderError::NoAdapter { reason }
    })
}

/// Lower is better; `None` must not be used.
fn rank(
    device_type: wgpu::DeviceType,
    has_storage: bool,
    adapters: Adapters,
    preference: wgpu::PowerPreference,
) -> Option<(bool, u8)> {
    use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
    let saves_power = preference == wgpu::PowerPreference::LowPower;
    let speed = match device_type {
        DiscreteGpu => 1,
        IntegratedGpu if saves_power => 0,
        IntegratedGpu => 2,
        VirtualGpu => 3,
        Other => 4,
        Cpu => 5,
    };
    (adapters == Adapters::Best || device_type == Cpu).then_some((!has_storage, speed))
}

/// A device with all that the adapter has, and no optional feature.
#[must_use]
pub fn device_descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    wgpu::DeviceDescriptor { label: Some("moescope device"), required_limits: adapter.limits(), ..Default::default() }
}

/// Checks the limits that the pipelines rely on, because a pipeline that exceeds them would end the program.
pub(super) fn check(device: &wgpu::Device) -> Result<(), RenderError> {
    if device.limits().max_storage_buffers_per_shader_stage < STORAGE_BUFFERS {
        return Err(RenderError::Unsupported { missing: "storage buffers" });
    }
    Ok(())
}

/// Whether the statistics can be computed on the device.
pub(super) fn can_compute(device: &wgpu::Device) -> bool {
    let limits = device.limits();
    limits.max_compute_workgroup_size_x >= STATS_INVOCATIONS
        && limits.max_compute_invocations_per_workgroup >= STATS_INVOCATIONS
        && limits.max_compute_workgroup_storage_size >= STATS_STORAGE
        && limits.max_compute_workgroups_per_dimension > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
    use wgpu::PowerPreference::{HighPerformance, LowPower};

    #[test]
    fn the_best_adapter_is_the_fastest_one_that_has_what_the_shaders_need() {
        let best = |found: &[(wgpu::DeviceType, bool)], adapters, preference| {
            let ranked = found.iter().enumerate();
            let ranked =
                ranked.filter_map(|(at, &(kind, storage))| Some((rank(kind, storage, adapters, preference)?, at)));
            ranked.min().map(|(_, at)| at)
        };
        let all = [(Cpu, true), (Other, true), (VirtualGpu, true), (IntegratedGpu, true), (DiscreteGpu, true)];
        assert_eq!(best(&all, Adapters::Best, HighPerformance), Some(4));
        assert_eq!(best(&all, Adapters::Best, LowPower), Some(3));
        assert_eq!(best(&all[..3], Adapters::Best, HighPerformance), Some(2));
        assert_eq!(best(&all, Adapters::Software, HighPerformance), Some(0));
        assert_eq!(best(&all[1..], Adapters::Software, HighPerformance), None);
        // A graphics card without storage buffers draws less than a CPU that has them.
        assert_eq!(best(&[(DiscreteGpu, false), (Cpu, true)], Adapters::Best, HighPerformance), Some(1));
        assert_eq!(best(&[(DiscreteGpu, false), (Cpu, false)], Adapters::Best, HighPerformance), Some(0));
        assert_eq!(best(&[(IntegratedGpu, true), (IntegratedGpu, true)], Adapters::Best, HighPerformance), Some(0));
        assert_eq!(best(&[], Adapters::Best, HighPerformance), None);
    }
}
