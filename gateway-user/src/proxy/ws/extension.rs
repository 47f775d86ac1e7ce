//! What the two sides agreed on to compress messages.

/// Permessage-deflate, as the server accepted it (RFC 7692, section 7.1). How large a window each
/// side compresses with does not matter here: the largest reads them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// Whether the client's messages refer to those before them.
    pub client_takeover: bool,
    /// Whether the server's do.
    pub server_takeover: bool,
}

/// The server accepted an extension that is not known here, or one with parameters that are not:
/// what the frames mean can't be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server accepted a WebSocket extension that is not known here (RFC 6455, section 9.1)")]
pub struct UnknownExtension;

impl Deflate {
    /// Reads the `Sec-WebSocket-Extensions` of a 101 (Switching Protocols), several fields joined
    /// by a comma. None: no extension.
    pub fn accepted(extensions: Option<&str>) -> Result<Option<Self>, UnknownExtension> {
        let mut accepted = None;
        for extension in extensions.unwrap_or_default().split(',').map(str::trim) {
            match Self::parse(extension) {
                _ if extension.is_empty() => {}
                Some(deflate) if accepted.is_none() => accepted = Some(deflate),
                _ => return Err(UnknownExtension),
            }
        }
        Ok(accepted)
    }

    fn parse(extension: &str) -> Option<Self> {
        let mut parts = extension.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut seen = Vec::new();
        let mut deflate = Self { client_takeover: true, server_takeover: true };
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (part, None),
            };
            match (name, value) {
                _ if seen.contains(&name) => return None,
                ("client_no_context_takeover", None) => deflate.client_takeover = false,
                ("server_no_context_takeover", None) => deflate.server_takeover = false,
                ("client_max_window_bits" | "server_max_window_bits", Some(bits))
                    if is_window(bits) => {}
                _ => return None,
            }
            seen.push(name);
        }
        Some(deflate)
    }
}

/// A decimal from 8 to 15, without leading zeros (RFC 7692, section 7.1.2).
fn is_window(bits: &str) -> bool {
    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

/// RFC 6455, section 9.1: a value may be written as a quoted string.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_is_read() {
        let both = Deflate { client_takeover: true, server_takeover: true };
        let none = Deflate { client_takeover: false, server_takeover: false };
        let cases = [
            (None, None),
            (Some(""), None),
            (Some(" , "), None),
            (Some("permessage-deflate"), Some(both)),
            (Some(" Permessage-Deflate ; server_max_window_bits=\"10\""), Some(both)),
            (
                Some("permessage-deflate; client_no_context_takeover; server_no_context_takeover"),
                Some(none),
            ),
            (
                Some("permessage-deflate;server_no_context_takeover;client_max_window_bits=15,"),
                Some(Deflate { client_takeover: true, server_takeover: false }),
            ),
        ];
        for (field, accepted) in cases {
            assert_eq!(Deflate::accepted(field), Ok(accepted), "{field:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for field in [
            "x-webkit-deflate-frame",
            "permessage-bzip2",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; foo",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=016",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
        ] {
            assert_eq!(Deflate::accepted(Some(field)), Err(UnknownExtension), "{field}");
        }
    }
}
