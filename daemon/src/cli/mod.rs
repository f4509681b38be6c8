//! The command line.

pub(crate) mod init;
