//! Why something cannot be drawn, and what to do about it.

/// Why the GPU, or its software stand-in, cannot draw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No driver was found.
    #[error(
        "no graphics adapter was found ({reason}). Install a Vulkan driver; without a graphics card a software one does \
         (Debian and Ubuntu: mesa-vulkan-drivers)"
    )]
    NoAdapter {
        /// wgpu's own words.
        reason: String,
    },
    /// The driver refused to open the device.
    #[error(
        "the graphics adapter {adapter} cannot be used ({reason}). Update its driver, or set WGPU_BACKEND=vulkan or gl"
    )]
    Device {
        /// Name of the adapter.
        adapter: String,
        /// wgpu's own words.
        reason: String,
    },
    /// The device lacks something that the shaders need.
    #[error(
        "the graphics device offers no {missing}, which the heatmap needs. Use a Vulkan, Metal or DirectX 12 driver \
         (Debian and Ubuntu: mesa-vulkan-drivers)"
    )]
    Unsupported {
        /// What is missing.
        missing: &'static str,
    },
    /// A routing does not fit into the GPU's buffers.
    #[error(
        "the routing needs {bytes} bytes on the GPU, which takes at most {limit} at once; the numbers around the picture are \
         complete. Use an adapter with larger buffers, or a smaller image"
    )]
    TooLarge {
        /// Bytes that its largest part needs.
        bytes: u64,
        /// Bytes that the device takes.
        limit: u64,
    },
    /// The gate probabilities alone do not fit into the GPU's buffers.
    #[error(
        "the gate probabilities need {bytes} bytes on the GPU, which takes at most {limit} at once: they cannot be drawn. \
         Everything else can, and their numbers are complete"
    )]
    GateProbsTooLarge {
        /// Bytes that they need.
        bytes: u64,
        /// Bytes that the device takes.
        limit: u64,
    },
    /// The GPU's memory is full.
    #[error(
        "the GPU has not enough memory left to draw this; the numbers around the picture are complete. Close other programs \
         that use the GPU, or choose a software one with VK_DRIVER_FILES"
    )]
    OutOfMemory,
    /// The device took the data for something else than they are, or is gone.
    #[error("the GPU did not take the data to draw: {reason}. Open the image again, or restart the window")]
    Upload {
        /// wgpu's own words.
        reason: String,
    },
    /// A picture was asked for that the device cannot draw at once.
    #[error("a picture of {width} × {height} pixels cannot be drawn; each side must be between 1 and {limit}")]
    PictureSize {
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// The device's largest side.
        limit: u32,
    },
    /// The picture was drawn but did not come back.
    #[error("the picture could not be read back from the GPU: {reason}")]
    ReadBack {
        /// wgpu's own words.
        reason: String,
    },
}
