//! Brings a pinned wheel through `pip`, from the index that the person has set up, checks it and takes the libraries out.
//! Used by the program and, through `build.rs`, by its build.
//!
//! A folder that is made from a wheel appears whole or not at all, so that two builds or installations at once both
//! succeed.

use super::catalogue::Wheel;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// The Python version whose wheels are taken; the libraries in them are the same for all.
const PYTHON_VERSION: &str = "3.11";

/// Ways to call Python, tried in turn until one brings the wheel.
const PYTHONS: [&[&str]; 3] = [&["python3"], &["python"], &["py", "-3"]];

/// Fetches the wheel, checks it, and puts its libraries and notices into `folder`. `finish` sees them before they appear
/// there.
pub fn install(wheel: &Wheel, folder: &Path, finish: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), String> {
    let work = TempFolder::beside(folder)?;
    let archive = download(wheel, &work.0)?;
    let found = sha256(&archive).map_err(|error| format!("cannot read {}: {error}", archive.display()))?;
    if found != wheel.sha256 {
        return Err(format!("{} has sha256 {found}, but {} was expected; it is not used", wheel.file, wheel.sha256));
    }
    let unpacked = work.0.join("unpacked");
    unpack(&archive, &unpacked)
        .and_then(|()| finish(&unpacked))
        .map_err(|error| format!("cannot unpack {}: {error}", wheel.file))?;
    publish(&unpacked, folder)
}

/// Moves a finished folder to its place. Another process may have been faster: then its folder stays.
pub fn publish(finished: &Path, place: &Path) -> Result<(), String> {
    match fs::rename(finished, place) {
        Err(error) if !place.is_dir() => Err(format!("cannot create {}: {error}", place.display())),
        _ => Ok(()),
    }
}

/// Has pip put the wheel into `folder`; the first Python that can wins.
fn download(wheel: &Wheel, folder: &Path) -> Result<PathBuf, String> {
    let file = folder.join(wheel.file);
    let mut problems = Vec::new();
    for python in PYTHONS {
        let output = Command::new(python[0])
            .args(&python[1..])
            .args(["-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--retries", "2", "--no-deps"])
            .args(["--only-binary=:all:", "--python-version", PYTHON_VERSION, "--platform", wheel.platform, "-d"])
            .arg(folder)
            .arg(format!("{}=={}", wheel.package, wheel.version))
            .output();
        match output {
            Ok(output) if output.status.success() && file.is_file() => return Ok(file),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("pip gave another wheel");
                problems.push(format!("{}: {}", python[0], last.trim()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => problems.push(format!("{}: {error}", python[0])),
        }
    }
    if problems.is_empty() { Err("no Python was found".into()) } else { Err(problems.join("; ")) }
}

/// Takes the libraries and the notices that must go with them out of a wheel, without its folders.
fn unpack(archive: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut archive = zip::ZipArchive::new(File::open(archive)?)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name().rsplit('/').next().unwrap_or_default().to_owned();
        if is_wanted(&name) {
            io::copy(&mut entry, &mut File::create(folder.join(name))?)?;
        }
    }
    Ok(())
}

/// Whether a file of a wheel is a library for any program, or a notice.
fn is_wanted(name: &str) -> bool {
    let is_notice = name == "LICENSE" || name == "ThirdPartyNotices.txt";
    let is_library = [".so", ".dll", ".dylib"].iter().any(|ending| name.ends_with(ending)) || name.contains(".so.");
    is_notice || is_library && !name.contains("pybind11")
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A folder of this process alone, removed at the end.
pub struct TempFolder(pub PathBuf);

impl TempFolder {
    /// Beside `place`, so that what is made in it can be renamed to `place`.
    pub fn beside(place: &Path) -> Result<Self, String> {
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
