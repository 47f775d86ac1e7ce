//! The headers of a message, each a name, a type and a value. Those that are read are strings; of
//! the others their size matters.

use super::{Broken, Message};

/// What the headers say that the payload is.
pub(super) fn read<'a>(mut headers: &'a [u8], payload: &'a [u8]) -> Result<Message<'a>, Broken> {
    let mut message_type = "event";
    let (mut event, mut exception, mut error) = (None, None, None);
    while !headers.is_empty() {
        let name = take_with_length(&mut headers, 1)?;
        let kind = take(&mut headers, 1)?;
        let value = match kind {
            // true, false
            [0 | 1] => &[],
            // byte, short, integer, long
            [2] => take(&mut headers, 1)?,
            [3] => take(&mut headers, 2)?,
            [4] => take(&mut headers, 4)?,
            // A timestamp is a long, too.
            [5 | 8] => take(&mut headers, 8)?,
            // bytes, string
            [6 | 7] => take_with_length(&mut headers, 2)?,
            // UUID
            [9] => take(&mut headers, 16)?,
            _ => return Err(Broken),
        };
        if *kind == [7] {
            let value = str::from_utf8(value).map_err(|_| Broken)?;
            match name {
                b":message-type" => message_type = value,
                b":event-type" => event = Some(value),
                b":exception-type" => exception = Some(value),
                b":error-code" => error = Some(value),
                _ => {}
            }
        }
    }
    Ok(match message_type {
        "exception" => Message::Fault(exception.unwrap_or_default()),
        "error" => Message::Fault(error.unwrap_or_default()),
        _ => Message::Event { name: event.unwrap_or_default(), payload },
    })
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Broken> {
    bytes.split_off(..length).ok_or(Broken)
}

/// So many bytes as a number says that stands before them and has so many bytes.
fn take_with_length<'a>(bytes: &mut &'a [u8], number: usize) -> Result<&'a [u8], Broken> {
    let number = take(bytes, number)?;
    let length = number.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    take(bytes, length)
}
