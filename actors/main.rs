//! The binary: hands the list of steps to the runtime's command line.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use tidegate::cli::{self, App};
use tidegate::config::Settings;
use tidegate_actors::AppSettings;

/// Many threads allocate what others free: glibc's arenas grow with that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main(App {
        name: "fund-purchase",
        steps: |settings: &Settings| {
            let app = AppSettings { bank: settings.app("bank")? };
            Ok(tidegate_actors::steps(&app, &settings.store.path)?)
        },
    })
}
