//! What a worker can really do, found out by trying: kernels differ, and a promise that nobody checked is none.

use super::{limit_memory, lock_in};
use crate::engine::runtime::Backend;
use crate::engine::{Execution, LoadRequest, Provider};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a worker can do with a model in it, as one of its kind found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freedom {
    /// Read the file of its model, which it must.
    pub read_its_model: bool,
    /// Read files in other folders.
    pub read_other_files: bool,
    /// Write files, also in its model's folder.
    pub write_files: bool,
    /// Open a socket.
    pub open_sockets: bool,
    /// Start a program.
    pub start_programs: bool,
    /// Signal the program that started it.
    pub signal_others: bool,
    /// Have more memory than it may.
    pub exceed_memory: bool,
}

impl Freedom {
    /// What a worker can do beyond running its model, in words; empty where it is locked in.
    #[must_use]
    pub fn beyond_need(&self) -> Vec<&'static str> {
        let all = [
            (self.read_other_files, "read other files"),
            (self.write_files, "write files"),
            (self.open_sockets, "open sockets"),
            (self.start_programs, "start programs"),
            (self.signal_others, "signal other processes"),
            (self.exceed_memory, "exceed its memory"),
        ];
        all.into_iter().filter(|(can, _)| *can).map(|(_, what)| what).collect()
    }
}

/// How much memory the probe may have.
const MEMORY_BYTES: u64 = 1 << 30;

/// Locks this process in with `model` as a worker for the CPU is, tries everything that it should not be able to, and
/// writes what it could to the standard output; the body of the hidden subcommand `probe-isolation`. `library` is ONNX
/// Runtime's, and `other` is a readable file in another folder.
///
/// # Errors
/// When the result cannot be written.
pub fn probe_isolation(model: &Path, library: &Path, other: &Path) -> io::Result<()> {
    let backend = Backend { provider: Provider::Cpu, library: library.to_path_buf(), plugin: None };
    limit_memory(Some(MEMORY_BYTES))?;
    lock_in(&LoadRequest::new(model, Execution::default()), &backend);
    let beside = model.with_extension("probe");
    let freedom = Freedom {
        read_its_model: File::open(model).is_ok(),
        read_other_files: File::open(other).is_ok(),
        write_files: File::create(beside).is_ok(),
        open_sockets: UdpSocket::bind("127.0.0.1:0").is_ok(),
        start_programs: starts_program(),
        signal_others: signals_parent(),
        exceed_memory: Vec::<u8>::new().try_reserve_exact(usize::try_from(MEMORY_BYTES).unwrap_or(usize::MAX)).is_ok(),
    };
    Ok(serde_json::to_writer(io::stdout().lock(), &freedom)?)
}

fn starts_program() -> bool {
    let program = std::env::current_exe().unwrap_or_else(|_| "true".into());
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[cfg(unix)]
fn signals_parent() -> bool {
    rustix::process::getppid().is_some_and(|parent| rustix::process::test_kill_process(parent).is_ok())
}

/// There are no signals.
#[cfg(not(unix))]
fn signals_parent() -> bool {
    false
}

/// Has a process of the kind that runs models find out what it can do. `program` is the executable that has the hidden
/// subcommand `probe-isolation`, and `library` ONNX Runtime's.
///
/// # Errors
/// When the process cannot be started or does not answer.
pub fn isolation_of(program: &Path, library: &Path) -> io::Result<Freedom> {
    let (here, there) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (model, other) = (here.path().join("model.onnx"), there.path().join("other"));
    File::create(&model)?;
    File::create(&other)?;
    let mut command = Command::new(program);
    command.arg("probe-isolation").arg(&model).arg(&other).arg("--ort-library").arg(library);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::Freedom;

    #[test]
    fn what_a_worker_can_do_is_told() {
        let locked_in = Freedom {
            read_its_model: true,
            read_other_files: false,
            write_files: false,
            open_sockets: false,
            start_programs: false,
            signal_others: false,
            exceed_memory: false,
        };
        assert!(locked_in.beyond_need().is_empty());
        let open = Freedom { open_sockets: true, exceed_memory: true, ..locked_in };
        assert_eq!(open.beyond_need(), ["open sockets", "exceed its memory"]);
    }
}
