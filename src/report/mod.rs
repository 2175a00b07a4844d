//! What is written to disk, for commands and for the window alike.

mod files;

pub use files::{Content, write_whole};
