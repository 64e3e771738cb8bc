//! The SEATA serializer: a type code and then the fields, without tags (wire.md 3.2 to 3.4).
//!
//! The bytes are the same from 1.2.0 to 2.6.0 except for what [`ExceptionTable`] tells and the list of ids at the end
//! of a merged request, which is there when the writer has one.
//!
//! Where Java's reader silently drops what follows an empty field, this one reads on. Where Java takes a merged message
//! that is cut off for an empty one, this one refuses it, so that no request goes unanswered. Bytes behind the last
//! field of a message are ignored, as by Java.

mod reader;
mod reading;
mod writer;
mod writing;

pub(super) use reading::decode;
pub(super) use writing::encode;

#[cfg(test)]
mod tests;
