//! Cron times.

/// A parsed cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {}
impl Cron {
    /// next
    pub fn next_after(
        &self,
        _after: crate::base::time::Wall,
        _zone: &str,
    ) -> Option<crate::base::time::Wall> {
        None
    }
}
