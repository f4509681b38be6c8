//! Panics of the core, caught with the place where they happened.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Set while a panic of this thread is to be caught; then what it said.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it is told instead of printed.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| hook(info, &usual)));
    });
    CAUGHT.with_borrow_mut(|caught| *caught = Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(work));
    let caught = CAUGHT.take();
    result.map_err(|_| caught.unwrap_or_default())
}

fn hook(info: &PanicHookInfo<'_>, usual: &dyn Fn(&PanicHookInfo<'_>)) {
    let told = CAUGHT.with_borrow_mut(|caught| {
        let expected = caught.is_some();
        if let Some(text) = caught {
            *text = info.to_string();
        }
        expected
    });
    if !told {
        usual(info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        let told = catch(|| assert_eq!(1, 2, "numbers differ")).unwrap_err();
        assert!(told.contains("panics.rs") && told.contains("numbers differ"), "{told}");
        assert_eq!(catch(|| 3), Ok(3));
    }
}
