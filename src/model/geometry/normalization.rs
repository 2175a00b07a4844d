//! The normalisations that image models are trained with.

/// Mean and standard deviation that pixels are normalised with, by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// What people call it.
    pub name: &'static str,
    /// Of R, G, B, in fractions of 255.
    pub mean: [f32; 3],
    /// Of R, G, B, in fractions of 255.
    pub std: [f32; 3],
}

impl Normalization {
    /// ImageNet's mean and deviation, as torchvision and timm have them.
    pub const IMAGENET: Self = Self { name: "ImageNet", mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    /// −1 to 1: Inception, V-MoE, and most vision transformers of Google.
    pub const PLUS_MINUS_ONE: Self = Self { name: "−1…1", mean: [0.5; 3], std: [0.5; 3] };
    /// As OpenAI's CLIP has it.
    pub const CLIP: Self = Self {
        name: "CLIP",
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
    };
    /// 0 to 1: YOLO, and graphs that normalise by themselves.
    pub const ZERO_TO_ONE: Self = Self { name: "0…1", mean: [0.0; 3], std: [1.0; 3] };
    /// 0 to 255: bytes as they are.
    pub const ZERO_TO_255: Self = Self { name: "0…255", mean: [0.0; 3], std: [1.0 / 255.0; 3] };
    /// All of them, to choose from.
    pub const ALL: [Self; 5] = [Self::IMAGENET, Self::PLUS_MINUS_ONE, Self::CLIP, Self::ZERO_TO_ONE, Self::ZERO_TO_255];
}
