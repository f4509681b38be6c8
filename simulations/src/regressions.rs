//! Seeds that once failed: they are run again by a test.
//!
//! A seed means the same run only as long as the simulator draws the same choices; a seed whose cause is worth more
//! than that should become a scenario of its own.

use serde::Deserialize;

use crate::overrides::Overrides;

/// Why a list of seeds cannot be read: the text names the place and what is wrong there.
pub type RegressionError = toml::de::Error;

/// A seed that once failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// The number of daemons, if it was fixed.
    #[serde(default)]
    pub daemons: Option<usize>,
    /// What was wrong.
    pub cause: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    regression: Vec<Regression>,
}

impl Regression {
    /// What is fixed besides the seed.
    pub fn overrides(&self) -> Overrides {
        Overrides { daemons: self.daemons, ..Overrides::default() }
    }
}

/// Reads a list of `[[regression]]` tables.
///
/// # Errors
/// [`RegressionError`] if it is not one.
pub fn parse_regressions(text: &str) -> Result<Vec<Regression>, RegressionError> {
    toml::from_str::<List>(text).map(|list| list.regression)
}
