//! Messages between the program and a worker process: a length, then JSON. Tensors travel apart, through shared memory.

use super::arena::Parcel;
use crate::engine::runtime::Backend;
use crate::engine::{EngineError, LoadRequest, Loaded, RunResult};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// Longer messages are refused: nothing that we send is, and a worker may have been taken over by its model.
const MAX_BYTES: u32 = 64 << 20;

/// What the program tells a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Load the model. Comes first and once: afterwards the worker is locked in with it. An edited model lies in the
    /// arena, with so many bytes.
    Load(LoadRequest, Backend, Option<usize>),
    /// Run it with the inputs that lie in the arena.
    Run(Vec<Parcel>),
    /// Stop what was ordered before.
    Cancel,
}

/// What a worker tells the program: one answer to each order but [`Order::Cancel`], and what needs none
/// between.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    /// To [`Order::Load`].
    Loaded(Loaded),
    /// To [`Order::Run`]; the outputs lie in the other arena.
    Ran { result: RunResult, outputs: Vec<Parcel> },
    /// To an order that could not be fulfilled.
    Failed(EngineError),
    /// The worker lives.
    Beat,
}

/// Writes one message.
///
/// # Errors
/// When the other side is gone.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let len = u32::try_from(frame.len() - 4).ok().filter(|&len| len <= MAX_BYTES);
    let len = len.ok_or_else(|| io::Error::other("a message is too long"))?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    to.write_all(&frame)?;
    to.flush()
}

/// Waits for one message; `None` when the other side has closed.
///
/// # Errors
/// When what comes is no message.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read_exact(&mut len) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let len = u32::from_le_bytes(len);
    if len > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut json = Vec::new();
    from.take(len.into()).read_to_end(&mut json)?;
    Ok(Some(serde_json::from_slice(&json)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Order::Cancel).unwrap();
        send(&mut pipe, &News::Failed(EngineError::Cancelled)).unwrap();
        let mut pipe = pipe.as_slice();
        assert!(matches!(receive(&mut pipe).unwrap(), Some(Order::Cancel)));
        assert!(matches!(receive(&mut pipe).unwrap(), Some(News::Failed(EngineError::Cancelled))));
        assert!(receive::<News>(&mut pipe).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&b"\xff\xff\xff\xff{}"[..], b"\x02\0\0\0{}", b"\x09\0\0\0{\"Beat\""] {
            assert!(receive::<News>(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn paths_that_are_no_unicode_survive() {
        use std::os::unix::ffi::OsStrExt;
        let model: std::path::PathBuf = std::ffi::OsStr::from_bytes(b"/m\xffdel.onnx").into();
        let mut pipe = Vec::new();
        send(&mut pipe, &EngineError::Load { model: model.clone(), reason: String::new() }).unwrap();
        let error = receive(&mut pipe.as_slice()).unwrap();
        assert_eq!(error, Some(EngineError::Load { model, reason: String::new() }));
    }
}
