//! What leaves the program, for commands and for the window alike: files that appear whole or not at all, and the JSON
//! that both give.

mod card;
mod files;
mod inspect;

pub use card::{SaveCardError, save_card};
pub use files::{Content, Copied, CopyProgress, copy_whole, write_whole};
pub use inspect::InspectRecord;
