//! SDKs of every dialect, unchanged: each call of theirs is understood completely, and its usage is
//! what the server told, to the token. What is refused, or cut, raises an error with the reason.

mod dialects {
    mod audited;
    mod cut;
    mod gathered;
    mod refused;
    mod repeated;
    mod tools;
    mod understood;
}
