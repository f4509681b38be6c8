//! How much freed memory the process keeps for itself.

use std::hint::black_box;

/// A block of this size is taken and freed; see [`keep_freed`].
const BLOCK: usize = 8 << 20;

/// Lets the process keep up to twice [`BLOCK`] of freed memory at the end of its heap. By itself the allocator of glibc
/// gives everything above 128 KiB back to the system after each batch, and has it back page by page for the next one.
/// It raises this limit when a larger block is freed (mallopt(3): the dynamic threshold). The block is never written to,
/// so it takes no memory; other allocators do not mind.
pub(super) fn keep_freed() {
    drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
}
