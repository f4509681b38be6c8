//! Seeds that once failed.

use stentor_simulations::{Options, Trace, parse_regressions, run};

#[test]
fn seeds_that_once_failed_pass() {
    let list = parse_regressions(include_str!("../regressions.toml")).unwrap();
    assert!(!list.is_empty());
    for regression in list {
        let outcome = run(&Options::draw(regression.seed, regression.overrides()), Trace::Off);
        assert!(outcome.violations.is_empty(), "once: {}\n{outcome}", regression.cause);
    }
}

#[test]
fn a_list_with_an_unknown_key_is_refused() {
    let error = parse_regressions("[[regression]]\nseed = 1\ncause = \"c\"\nhost = 3\n").unwrap_err();
    assert!(error.to_string().contains("host"), "{error}");
}
