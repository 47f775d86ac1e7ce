//! SDKs of every dialect, unchanged: each call of theirs is understood completely, and its usage is
//! what the server told, to the token.

mod dialects {
    mod audited;
    mod repeated;
    mod tools;
    mod understood;
}
