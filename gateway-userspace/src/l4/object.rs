//! The kernel object, embedded so that the gateway is one file with nothing to install beside it.

use super::L4Error;

include!(concat!(env!("OUT_DIR"), "/kernel_object.rs"));

/// The bytes of the kernel object.
///
/// # Errors
/// This binary was built before the object was.
pub fn bytes() -> Result<&'static [u8], L4Error> {
    KERNEL_OBJECT.ok_or(L4Error::NoObject)
}
