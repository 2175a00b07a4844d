//! Why an image cannot be used: which one, why, and what to do next.

/// An image that cannot be read or fed to a model. Its text is one line that names the image, the reason and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// The file cannot be opened or read.
    #[error("{name}: cannot be read ({reason}); check the path and its permissions")]
    Unreadable {
        /// The image.
        name: String,
        /// The system's own words.
        reason: String,
    },
    /// The path is a folder.
    #[error("{name}: is a folder; name the image files in it")]
    Folder {
        /// The folder.
        name: String,
    },
    /// The path is a pipe, a device or something else that is no regular file.
    #[error("{name}: is not a regular file; save the image to a file first")]
    NotAFile {
        /// The path.
        name: String,
    },
    /// There is nothing in it.
    #[error("{name}: is empty (0 bytes); copy or download it again")]
    Empty {
        /// The image.
        name: String,
    },
    /// It is something else than an image that can be decoded here.
    #[error("{name}: is not an image that can be opened here: it looks like {looks_like}; {remedy}")]
    NotAnImage {
        /// The file.
        name: String,
        /// What its first bytes say.
        looks_like: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The end of the image is missing.
    #[error("{name}: is cut off, its end is missing; copy or download it again")]
    Truncated {
        /// The image.
        name: String,
    },
    /// The decoder refused it.
    #[error("{name}: cannot be decoded ({reason}); open it in another program and save it again")]
    Damaged {
        /// The image.
        name: String,
        /// The decoder's own words.
        reason: String,
    },
    /// It has more pixels than this program opens.
    #[error("{name}: {width} × {height} pixels are more than {max_megapixels} megapixels; scale it down first")]
    TooLarge {
        /// The image.
        name: String,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// The limit in millions of pixels.
        max_megapixels: u64,
    },
    /// It cannot be scaled to the model's input.
    #[error("{name}: cannot be scaled to the model's input ({reason}); use an image of another shape")]
    Resize {
        /// The image.
        name: String,
        /// The resizer's own words.
        reason: String,
    },
}

impl InputError {
    /// A decoder's refusal, in one line: some decoders' words run over several.
    pub(super) fn damaged(name: &str, error: &impl std::error::Error) -> Self {
        let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Damaged { name: name.to_owned(), reason }
    }
}
