//! Colours of continuous values: scales whose lightness rises evenly, so that they survive printing in grey and colour
//! blindness. The shaders read the same 256 entries that [`ColorScale::color`] does.

/// A sequential colour scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ColorScale {
    /// Dark violet over green to yellow.
    #[default]
    Viridis,
    /// Black over magenta to pale yellow.
    Magma,
    /// Dark blue to yellow, the same to people with and without colour blindness.
    Cividis,
}

impl ColorScale {
    /// All scales, in the order of the table's rows.
    pub const ALL: [Self; 3] = [Self::Viridis, Self::Magma, Self::Cividis];
    /// Entries per scale.
    pub const STEPS: usize = 256;

    /// Short name for the screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viridis => "Viridis",
            Self::Magma => "Magma",
            Self::Cividis => "Cividis",
        }
    }

    /// The sRGB colour at `t` between 0 and 1; values outside, and NaN, take the nearest end (NaN the lower).
    #[must_use]
    pub fn color(self, t: f32) -> [u8; 3] {
        let last = (Self::STEPS - 1) as f32;
        let step = (t.clamp(0.0, 1.0) * last + 0.5).floor() as usize;
        self.step(step)
    }

    fn step(self, step: usize) -> [u8; 3] {
        let gradient = match self {
            Self::Viridis => colorous::VIRIDIS,
            Self::Magma => colorous::MAGMA,
            Self::Cividis => colorous::CIVIDIS,
        };
        gradient.eval_continuous(step as f64 / (Self::STEPS - 1) as f64).as_array()
    }

    /// Row of this scale in [`scale_table`].
    pub(super) fn index(self) -> u32 {
        self as u32
    }
}

/// One row of RGBA texels per scale.
pub(super) fn scale_table() -> Vec<u8> {
    let colors = ColorScale::ALL.iter().flat_map(|scale| (0..ColorScale::STEPS).map(|step| scale.step(step)));
    colors.flat_map(|[r, g, b]| [r, g, b, 255]).collect()
}
