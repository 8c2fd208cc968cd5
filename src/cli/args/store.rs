//! Arguments about what is on disk.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServerArgs;

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StoreVerb {
    /// Check every record, row, count and open delivery, and say what is wrong; changes nothing.
    Verify(VerifyArgs),
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
