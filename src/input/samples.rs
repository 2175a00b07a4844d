//! Samples that are built in. Stand-in until the photos are there.

/// A photo that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Identifier, also its file name in `assets/samples` without the extension.
    pub id: &'static str,
    /// Name on screen.
    pub title: &'static str,
    /// Author and source.
    pub credit: &'static str,
    /// Licence.
    pub license: &'static str,
    /// The JPEG file.
    pub bytes: &'static [u8],
}

/// The samples in the order of the strip; the program opens with the first one.
pub const SAMPLES: &[Sample] = &[];
