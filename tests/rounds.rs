//! A short form of `cargo bench --bench rounds`: opening, running and closing a model leaves nothing behind.
#![cfg(target_os = "linux")]

#[path = "rounds/holdings.rs"]
mod holdings;

use holdings::{Holdings, Slopes, round};
use moescope::engine::{Engine, EngineOptions, Isolation, Limits};

#[test]
fn forty_rounds_leave_nothing_behind() -> anyhow::Result<()> {
    let isolation = Isolation::Process { program: env!("CARGO_BIN_EXE_moescope").into() };
    let options = EngineOptions { isolation, limits: Limits::default(), ..EngineOptions::default() };
    let engine = Engine::start(options);
    let mut seen = Vec::new();
    for _ in 0..40 {
        round(&engine)?;
        seen.push(Holdings::now()?);
    }
    let slopes = Slopes::of(&seen);
    // Memory needs more rounds to tell a leak from noise; the long form looks at it.
    let others = [slopes.file_handles, slopes.threads, slopes.children];
    assert!(others.iter().all(|slope| *slope < 0.05), "{slopes:?}: {:?}", seen.last());
    Ok(())
}
