//! Arguments about what is on disk.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ServerArgs, help};

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StoreVerb {
    /// Check every record, row, count and open delivery, and say what is wrong; changes nothing.
    Verify(VerifyArgs),
    /// Rebuild sled in the data folder of a stopped server: its file never shrinks by itself.
    Compact(CompactArgs),
    /// Write what a stopped server holds as lines of JSON, for people and scripts.
    Export(ExportArgs),
    /// Publish the events of an export into a new data folder, with what was open; what was settled stays behind.
    #[command(after_help = help::IMPORT)]
    Import(ImportArgs),
}

/// `store verify`.
#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// The data folder of a stopped server; without it a running server is asked to look at its own.
    #[arg(value_name = "DIR")]
    pub(in crate::cli) dir: Option<PathBuf>,
    /// Where there is room for a copy of DIR/sled [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) scratch: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `backup`.
#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// The file to write, or a folder in which one is named after the time.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Back up the data folder of a stopped server instead of asking a running one.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) offline: Option<PathBuf>,
    /// With --offline: where there is room for a copy of DIR/sled [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR", requires = "offline")]
    pub(in crate::cli) scratch: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
}

/// `restore`.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// The data folder to make; there must be nothing. Without it the backup is only checked.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: Option<PathBuf>,
}

/// `store compact`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CompactArgs {
    /// The data folder; there must be room for a second sled in it.
    #[arg(value_name = "DIR")]
    pub(in crate::cli) dir: PathBuf,
}

/// `store export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The data folder.
    #[arg(value_name = "DIR")]
    pub(in crate::cli) dir: PathBuf,
    /// The file to write [default: standard output].
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    /// Where there is room for a copy of DIR/sled [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) scratch: Option<PathBuf>,
}

/// `store import`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The export.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// The data folder to make; there must be nothing.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: PathBuf,
}
