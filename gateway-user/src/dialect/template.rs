//! What other traffic is listed by: paths with what names one thing in them left out, so that a
//! thousand things of one kind are one line.

use crate::limits::{OTHER_NAME_BYTES, OTHER_PATH_BYTES, OTHER_PATH_SEGMENTS};

/// The target's path, without its query, in which segments that look like ids are `{id}`. At most
/// [`OTHER_PATH_SEGMENTS`] segments and about [`OTHER_PATH_BYTES`] bytes; what is left out of it is
/// `…`.
#[must_use]
pub fn path(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = match path.split_once("://") {
        Some((scheme, after)) if !scheme.contains('/') => {
            after.find('/').map_or("/", |start| &after[start..])
        }
        _ => path,
    };
    let Some(path) = path.strip_prefix('/') else {
        // `*`, or an authority.
        return cut(path, OTHER_PATH_BYTES).to_owned();
    };
    let mut template = String::new();
    for (number, segment) in path.split('/').enumerate() {
        let segment = segment_of(segment);
        let is_too_long = template.len() + 1 + segment.len() > OTHER_PATH_BYTES;
        if number >= OTHER_PATH_SEGMENTS || is_too_long {
            template.push_str("/…");
            break;
        }
        template.push('/');
        template.push_str(segment);
    }
    template
}

/// A host or a method, of at most [`OTHER_NAME_BYTES`] bytes.
#[must_use]
pub fn name(text: &str) -> &str {
    cut(text, OTHER_NAME_BYTES)
}

fn segment_of(segment: &str) -> &str {
    // What stands behind a colon is what to do with the thing (Google's custom methods).
    let id = segment.split(':').next().unwrap_or_default();
    if !looks_like_an_id(id) {
        segment
    } else if id.len() == segment.len() {
        ID
    } else {
        // Rare, and not worth a string of its own.
        "{id}:…"
    }
}

/// Numbers, UUIDs, hashes, tokens, mail addresses: what names one thing of many. A word is none,
/// with hyphens or a version in it neither.
fn looks_like_an_id(segment: &str) -> bool {
    let length = segment.len();
    let count = |of: fn(&u8) -> bool| segment.bytes().filter(of).count();
    let digits = count(u8::is_ascii_digit);
    let others = length - count(u8::is_ascii_alphanumeric);
    if length == 0 {
        return false;
    }
    if segment.contains('@') || segment.contains("%40") || digits + others == length && digits > 0 {
        return true;
    }
    let hex = count(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    if length >= 8 && hex == length && digits > 0 {
        return true;
    }
    // `thread_abc123…`, base64: long, and digits or both cases mixed in.
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let mixed = usize::from(upper > 1) + usize::from(lower > 1) + usize::from(digits > 1);
    let tail = segment.rsplit(['_', '-', '.']).next().unwrap_or_default();
    let is_token = |text: &str| {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        text.len() >= 8 && digits >= 2 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    length >= 64 || length >= 20 && mixed >= 2 || is_token(tail)
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

const ID: &str = "{id}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_names_one_thing_is_left_out() {
        for (target, template) in [
            ("/", "/"),
            ("", ""),
            ("*", "*"),
            ("/v1/models", "/v1/models"),
            ("/v1/models/gpt-4o-mini?x=1", "/v1/models/gpt-4o-mini"),
            ("/users/12345/posts/7", "/users/{id}/posts/{id}"),
            ("/a/123e4567-e89b-42d3-a456-426614174000/", "/a/{id}/"),
            ("/commit/0f1e2d3c4b5a69788796a5b4c3d2e1f000112233", "/commit/{id}"),
            ("/v1/threads/thread_abc123XYZ/runs", "/v1/threads/{id}/runs"),
            ("/v1/batches/batch_67f2a9c1d0", "/v1/batches/{id}"),
            ("/mail/ann%40example.com", "/mail/{id}"),
            ("/mail/ann@example.com/x", "/mail/{id}/x"),
            ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6", "/t/{id}"),
            (
                "/v1beta/models/gemini-2.5-pro:countTokens",
                "/v1beta/models/gemini-2.5-pro:countTokens",
            ),
            ("/v1beta/operations/8127368172:cancel", "/v1beta/operations/{id}:…"),
            ("/2026-07-28/report", "/{id}/report"),
            ("http://api.test/files/99?x#y", "/files/{id}"),
            ("http://api.test", "/"),
            ("/feed/cafe", "/feed/cafe"),
            ("/some-long-name-of-a-resource/deadbeef", "/some-long-name-of-a-resource/deadbeef"),
        ] {
            assert_eq!(path(target), template, "{target}");
        }
    }

    #[test]
    fn long_paths_are_cut() {
        assert_eq!(path(&format!("/a/{}", "b".repeat(60_000))), "/a/{id}");
        assert_eq!(path(&format!("/a/{}", "x ".repeat(100))), "/a/{id}");
        let many = path(&"/ab".repeat(1000));
        assert!(many.ends_with("/ab/…") && many.matches("/ab").count() == OTHER_PATH_SEGMENTS);
        let long = path(&format!("/{}", ["abcdefghijklmnop"; 12].join("/")));
        assert!(long.len() <= OTHER_PATH_BYTES + 4 && long.ends_with("/…"), "{long}");
        let full = "/a-word-of-thirty-two-characters".repeat(4);
        assert_eq!(path(&format!("{full}/////")), format!("{full}/…"));
        assert_eq!(name(&"h".repeat(1000)).len(), OTHER_NAME_BYTES);
    }

    proptest! {
        #[test]
        fn any_target_has_a_short_template(target in prop_oneof![".*", "(/[a-z …]{0,30}){0,40}"]) {
            prop_assert!(path(&target).len() <= OTHER_PATH_BYTES + 4);
        }
    }
}
