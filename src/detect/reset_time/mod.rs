//! stub
pub fn parse(_t: &str, _n: crate::base::time::Wall, _z: &str) -> Option<crate::base::time::Wall> {
    None
}
