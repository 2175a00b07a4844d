//! Errors of the GPU as values. wgpu ends the program at an error that nobody asked for; a photo or a routing that is too
//! much for the GPU's memory must end in a message instead.

use super::RenderError;

/// Does what creates GPU objects, and gives what went wrong on the way.
pub(super) fn watched<T>(
    device: &wgpu::Device,
    create: impl FnOnce() -> Result<T, RenderError>,
) -> Result<T, RenderError> {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let created = create();
    // Known at once, except in a browser. What follows from lacking memory is not told.
    let invalid = pollster::block_on(validation.pop());
    match (pollster::block_on(memory.pop()), invalid) {
        (Some(_), _) => Err(RenderError::OutOfMemory),
        (None, Some(error)) => Err(RenderError::Upload { reason: error.to_string() }),
        (None, None) => created,
    }
}
