//! Finds ONNX Runtime's library, so that a person who has none is told what to do instead of meeting a crash.
//!
//! Wishes that were spoken out (a path given by flag or environment) are followed or refused by name, never replaced by
//! something else. Without them the library is looked for beside the executable, then where the build put it.

use super::EngineError;
use std::env;
use std::path::{Path, PathBuf};

/// The version that the build brings.
pub const ORT_VERSION: &str = super::runtime::CPU_VERSION;

/// Versions 1.0 to 1.23 follow paths to external data out of the model's folder.
const OLDEST_MINOR: u32 = 24;

/// Environment variable with the path of the library.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// File names of the library: as the wheels carry it, then as distributions do.
const FILE_NAMES: &[&str] = if cfg!(windows) {
    &["onnxruntime.dll"]
} else if cfg!(target_os = "macos") {
    &[concat!("libonnxruntime.", env!("MOESCOPE_ORT_VERSION"), ".dylib"), "libonnxruntime.dylib"]
} else {
    &[concat!("libonnxruntime.so.", env!("MOESCOPE_ORT_VERSION")), "libonnxruntime.so"]
};

/// Where a library may lie; each place is optional.
struct Places {
    /// Given to the program by flag.
    flag: Option<PathBuf>,
    /// Value of [`VARIABLE`].
    variable: Option<PathBuf>,
    /// Folder of the executable.
    exe_folder: Option<PathBuf>,
    /// The build's copy.
    built: Option<PathBuf>,
}

/// Absolute path of the library to load: `flag`, else `ORT_DYLIB_PATH`, else beside the executable (its folder, `lib` and
/// `onnxruntime-VERSION` in it), else the build's copy.
///
/// # Errors
/// [`EngineError::Library`] when a path was given and is not a file, or when nothing was found.
pub fn find_library(flag: Option<&Path>) -> Result<PathBuf, EngineError> {
    find_in(Places::of_this_process(flag))
}

/// The library that a person named by `flag` or by `ORT_DYLIB_PATH`, if one was named.
///
/// # Errors
/// [`EngineError::Library`] when it is not a file.
pub(super) fn given_library(flag: Option<&Path>) -> Result<Option<PathBuf>, EngineError> {
    given_in(&Places::of_this_process(flag))
}

impl Places {
    fn of_this_process(flag: Option<&Path>) -> Self {
        Self {
            flag: flag.map(Path::to_path_buf),
            variable: env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from),
            exe_folder: env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf)),
            built: option_env!("MOESCOPE_ORT_LIBRARY").map(PathBuf::from),
        }
    }
}

fn given_in(places: &Places) -> Result<Option<PathBuf>, EngineError> {
    match (&places.flag, &places.variable) {
        (Some(path), _) => given(path, "it was given as the library").map(Some),
        (None, Some(path)) => given(path, &format!("{VARIABLE} names it")).map(Some),
        (None, None) => Ok(None),
    }
}

fn find_in(places: Places) -> Result<PathBuf, EngineError> {
    if let Some(path) = given_in(&places)? {
        return Ok(path);
    }
    let beside = places
        .exe_folder
        .into_iter()
        .flat_map(|folder| [folder.clone(), folder.join("lib"), folder.join(format!("onnxruntime-{ORT_VERSION}"))]);
    let candidates: Vec<PathBuf> =
        beside.flat_map(|folder| FILE_NAMES.iter().map(move |name| folder.join(name))).chain(places.built).collect();
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return absolute(found);
    }
    let tried = candidates.first().map_or_else(String::new, |path| format!(" (looked for {} first)", path.display()));
    Err(EngineError::Library { reason: format!("no library was found{tried}"), remedy: remedy() })
}

/// A path that someone gave: it is this one or none.
fn given(path: &Path, why: &str) -> Result<PathBuf, EngineError> {
    if path.is_file() {
        return absolute(path);
    }
    let problem = if path.is_dir() { "is a folder, not the library file" } else { "does not exist" };
    Err(EngineError::Library { reason: format!("{} {problem} ({why})", path.display()), remedy: remedy() })
}

/// Relative paths would be taken from the executable's folder by the loader.
fn absolute(path: &Path) -> Result<PathBuf, EngineError> {
    std::path::absolute(path).map_err(|error| EngineError::Library {
        reason: format!("{} cannot be made an absolute path: {error}", path.display()),
        remedy: remedy(),
    })
}

/// What a person can do who has no usable library.
pub(super) fn remedy() -> String {
    format!(
        "Run `moescope runtime install cpu` with Python 3, pip and a network (it brings version {ORT_VERSION}), or set \
         {VARIABLE} to the library of an ONNX Runtime from 1.{OLDEST_MINOR} on: `pip install onnxruntime` puts one into \
         its folder onnxruntime/capi"
    )
}

/// Refuses what is no ONNX Runtime, or one that is too old, before anything is loaded for good.
pub(super) fn check_version(path: &Path) -> Result<(), EngineError> {
    let refuse = |reason| Err(EngineError::Library { reason, remedy: remedy() });
    match ort::util::probe(path) {
        None => refuse(format!("{} cannot be loaded as an ONNX Runtime library", path.display())),
        Some(minor) if minor < OLDEST_MINOR => {
            refuse(format!("{} is version 1.{minor}, but 1.{OLDEST_MINOR} or later is needed", path.display()))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const NOWHERE: Places = Places { flag: None, variable: None, exe_folder: None, built: None };

    fn touch(path: PathBuf) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"library").unwrap();
        path
    }

    #[test]
    fn earlier_places_win() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        let exe = root.join("bin");
        let built = touch(root.join("built").join(FILE_NAMES[0]));
        let places = |flag: Option<&PathBuf>, variable: Option<&PathBuf>| Places {
            flag: flag.cloned(),
            variable: variable.cloned(),
            exe_folder: Some(exe.clone()),
            built: Some(built.clone()),
        };
        assert_eq!(find_in(places(None, None)).unwrap(), built);
        let unpacked = touch(exe.join(format!("onnxruntime-{ORT_VERSION}")).join(FILE_NAMES[0]));
        assert_eq!(find_in(places(None, None)).unwrap(), unpacked);
        let lib = touch(exe.join("lib").join(FILE_NAMES[FILE_NAMES.len() - 1]));
        assert_eq!(find_in(places(None, None)).unwrap(), lib);
        let beside = touch(exe.join(FILE_NAMES[0]));
        assert_eq!(find_in(places(None, None)).unwrap(), beside);
        let variable = touch(root.join("variable"));
        assert_eq!(find_in(places(None, Some(&variable))).unwrap(), variable);
        let flag = touch(root.join("flag"));
        assert_eq!(find_in(places(Some(&flag), Some(&variable))).unwrap(), flag);
    }

    #[test]
    fn a_given_path_that_is_bad_is_named_and_not_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let good = touch(temp.path().join("good"));
        for bad in [temp.path().join("missing.so"), temp.path().to_path_buf()] {
            let by_flag = Places { flag: Some(bad.clone()), variable: Some(good.clone()), ..NOWHERE };
            let by_variable = Places { variable: Some(bad.clone()), built: Some(good.clone()), ..NOWHERE };
            for (places, source) in [(by_flag, "given as the library"), (by_variable, VARIABLE)] {
                let text = find_in(places).unwrap_err().to_string();
                assert!(text.contains(&bad.display().to_string()) && text.contains(source), "{text}");
            }
        }
    }

    #[test]
    fn nothing_found_says_how_to_get_it() {
        let text = find_in(NOWHERE).unwrap_err().to_string();
        assert!(text.contains("runtime install cpu") && text.contains(VARIABLE), "{text}");
    }

    #[test]
    fn relative_paths_are_taken_from_the_working_folder() {
        let found = find_in(Places { flag: Some("Cargo.toml".into()), ..NOWHERE }).unwrap();
        assert_eq!(found, env::current_dir().unwrap().join("Cargo.toml"));
    }

    #[test]
    fn a_file_that_is_no_library_is_refused() {
        let text = check_version(&env::current_dir().unwrap().join("Cargo.toml")).unwrap_err().to_string();
        assert!(text.contains("Cargo.toml"), "{text}");
    }
}
