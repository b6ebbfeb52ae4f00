//! An allocator that counts, for each thread: how many bytes are in use, and how many were at most. Programs
//! that measure install it; it allocates with the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Counts what passes through it.
pub struct Counting;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Notes that a thread has so many bytes more, or fewer, than before.
fn add(bytes: isize) {
    // A thread that ends may allocate after its counters are gone.
    let _ = IN_USE.try_with(|in_use| {
        let now = in_use.get() + bytes;
        in_use.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it came, so its promises are this one's. The counters
// are plain cells of the thread, made without an allocation, and freed without one.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size().cast_signed());
        // SAFETY: the caller's promise about the layout is what is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(-layout.size().cast_signed());
        // SAFETY: the block is the system's, since all are, and the layout is the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Runs something on this thread, and says how many bytes it had in use at most, beyond those before it. Zero
/// in a program that has not installed [`Counting`].
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.get();
    PEAK.set(before);
    let done = work();
    (done, (PEAK.get() - before).max(0).cast_unsigned())
}

/// Whether this program counts.
pub fn is_counting() -> bool {
    measure(|| drop(std::hint::black_box(vec![1_u8; 100]))).1 >= 100
}
