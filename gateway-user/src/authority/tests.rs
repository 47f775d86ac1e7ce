use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
};
use tempfile::TempDir;

use super::{issuer::days, *};
use crate::{call::Micros, limits};

const NOW: Timestamp = Timestamp(1_900_000_000_000_000);

fn state() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(state: &TempDir) -> Authority {
    Authority::open(state.path(), NOW).expect("an authority")
}

fn name(text: &str) -> ServerName<'static> {
    ServerName::try_from(text.to_owned()).expect("a name")
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|found| found.expect("PEM")).collect()
}

/// What a rustls client thinks of a leaf, if it trusts these.
fn verify(leaf: &CertifiedKey, anchors: &str, name: &ServerName<'_>, at: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(anchors));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_micros(at.0));
    let (end, rest) = leaf.cert.split_first().expect("a leaf");
    verifier.build().expect("roots").verify_server_cert(end, rest, name, &[], at).is_ok()
}

#[test]
fn a_leaf_is_trusted_for_its_name_by_who_trusts_the_authority() {
    let state = state();
    let authority = open(&state);
    let anchors = authority.anchors(NOW);
    let long = format!("{}.example.com", ["x".repeat(60), "y".repeat(60)].join("."));
    for text in ["api.openai.com", "API.Example.com", "127.0.0.1", "2001:db8::7", &long] {
        let name = name(text);
        let leaf = authority.leaf(&name, true, NOW).expect("a leaf");
        assert!(verify(&leaf, &anchors, &name, NOW), "{text}");
        let other = ServerName::try_from("other.example.com").expect("a name");
        assert!(!verify(&leaf, &anchors, &other, NOW), "{text}");
        let untrusted = authority.leaf(&name, false, NOW).expect("a leaf");
        assert!(!verify(&untrusted, &anchors, &name, NOW), "{text}");
        assert!(untrusted.keys_match().is_ok() && leaf.keys_match().is_ok());
    }
}

#[test]
fn leaves_hold_for_clocks_that_are_some_hours_off_and_are_renewed_before_they_expire() {
    let state = state();
    let authority = open(&state);
    let (anchors, name) = (authority.anchors(NOW), name("api.openai.com"));
    let leaf = authority.leaf(&name, true, NOW).expect("a leaf");
    let hours = Micros(days(1).0 / 2);
    assert!(verify(&leaf, &anchors, &name, Timestamp(NOW.0 - hours.0)));
    assert!(!verify(&leaf, &anchors, &name, NOW.after(days(8))));
    let same = authority.leaf(&name, true, NOW.after(days(4))).expect("a leaf");
    assert!(Arc::ptr_eq(&leaf, &same));
    let renewed = authority.leaf(&name, true, NOW.after(days(6))).expect("a leaf");
    assert!(verify(&renewed, &anchors, &name, NOW.after(days(12))));
}

#[test]
fn only_so_many_leaves_are_kept() {
    let state = state();
    let authority = open(&state);
    let first = authority.leaf(&name("0.example.com"), true, NOW).expect("a leaf");
    for count in 1..=limits::LEAVES {
        authority.leaf(&name(&format!("{count}.example.com")), true, NOW).expect("a leaf");
    }
    assert_eq!(authority.forgotten(), 1);
    let again = authority.leaf(&name("0.example.com"), true, NOW).expect("a leaf");
    assert!(!Arc::ptr_eq(&first, &again) && first.cert != again.cert);
}

#[test]
fn an_authority_is_made_once_and_read_again() {
    let state = state();
    let (one, name) = (open(&state), name("api.openai.com"));
    let two = open(&state);
    assert_eq!(one.certificate(), two.certificate());
    assert_eq!(Authority::show(state.path(), NOW).expect("shown"), two.certificate());
    let leaf = one.leaf(&name, true, NOW).expect("a leaf");
    assert!(verify(&leaf, &two.anchors(NOW), &name, NOW));
    let found = fs::metadata(state.path().join("ca.pem")).expect("it is there");
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert!(!two.certificate().pem.contains("PRIVATE"));
}

#[test]
fn one_that_is_about_to_expire_is_replaced_when_it_is_opened() {
    let state = state();
    let before = open(&state).certificate();
    let late = NOW.after(days(3630));
    let after = Authority::open(state.path(), late).expect("an authority");
    assert_ne!(after.certificate().sha256, before.sha256);
    assert!(after.certificate().not_after > late.after(days(3000)));
}

#[test]
fn what_others_could_have_read_or_written_is_refused() {
    let state = state();
    open(&state);
    let path = state.path().join("ca.pem");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        let error = Authority::open(state.path(), NOW).expect_err("refused");
        assert!(matches!(error, AuthorityError::Exposed { .. }), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    fs::rename(&path, state.path().join("elsewhere")).expect("moved");
    std::os::unix::fs::symlink("elsewhere", &path).expect("made");
    assert!(matches!(Authority::open(state.path(), NOW), Err(AuthorityError::Io { .. })));
}

#[test]
fn what_is_cut_off_anywhere_is_refused_and_stays_as_it_is() {
    let state = state();
    open(&state).rotate(NOW).expect("rotated");
    let path = state.path().join("ca.pem");
    let whole = fs::read_to_string(&path).expect("it is there");
    // Whole certificates less are a whole authority less only where they come in pairs.
    let ends: Vec<usize> = whole.match_indices("-----END").map(|(at, _)| at).collect();
    assert_eq!(ends.len(), 4);
    for end in ends.iter().map(|end| end - 7).chain([0, 100, ends[0] + 30, ends[2] + 30]) {
        fs::write(&path, &whole[..end]).expect("written");
        let error = Authority::open(state.path(), NOW).expect_err("refused");
        assert!(matches!(error, AuthorityError::Damaged { .. }), "{end}: {error}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), whole[..end]);
    }
    let other = TempDir::new().expect("a directory");
    open(&other);
    let key = fs::read_to_string(other.path().join("ca.pem")).expect("it is there");
    let (key, _) = key.split_at(key.find("-----BEGIN CERT").expect("one"));
    let (_, rest) = whole.split_at(whole.find("-----BEGIN CERT").expect("one"));
    fs::write(&path, format!("{key}{rest}")).expect("written");
    let error = Authority::open(state.path(), NOW).expect_err("refused");
    assert!(error.to_string().contains("not of one another"), "{error}");
}

#[test]
fn who_trusts_a_replaced_authority_trusts_its_successors_leaves_for_as_long_as_its_own_last() {
    let state = state();
    let authority = open(&state);
    let (name, first) = (name("api.openai.com"), authority.anchors(NOW));
    let old = authority.leaf(&name, true, NOW).expect("a leaf");
    let (second, third) = (NOW.after(days(1)), NOW.after(days(2)));
    authority.rotate(second).expect("rotated");
    authority.rotate(third).expect("rotated");
    let leaf = authority.leaf(&name, true, third).expect("a leaf");
    assert_eq!(certificates(&authority.anchors(third)).len(), 3);
    // Old leaves by those who trust what is current, and the other way round.
    assert!(verify(&old, &authority.anchors(third), &name, third));
    assert!(verify(&leaf, &first, &name, third));
    assert!(verify(&leaf, &authority.certificate().pem, &name, third));
    // The same from the file.
    let read = Authority::open(state.path(), third).expect("an authority");
    assert_eq!(read.anchors(third), authority.anchors(third));
    let leaf = read.leaf(&name, true, third).expect("a leaf");
    assert!(verify(&leaf, &first, &name, third));
    // The first was replaced a week ago, the second not yet.
    let later = NOW.after(days(8));
    assert_eq!(certificates(&read.anchors(later)).len(), 2);
    assert_eq!(read.leaf(&name, true, later).expect("a leaf").cert.len(), 2);
}

#[test]
fn only_so_many_replaced_authorities_are_kept() {
    let state = state();
    let authority = open(&state);
    for _ in 0..limits::RETIRED_AUTHORITIES + 2 {
        authority.rotate(NOW).expect("rotated");
    }
    assert_eq!(certificates(&authority.anchors(NOW)).len(), limits::RETIRED_AUTHORITIES + 1);
}

/// The strict rules of OpenSSL, which Python 3.13 applies by default.
#[test]
fn openssl_s_strict_rules_are_met() {
    let now = Micros::from(std::time::UNIX_EPOCH.elapsed().expect("after 1970"));
    let now = Timestamp(now.0);
    let state = state();
    let authority = Authority::open(state.path(), now).expect("an authority");
    authority.rotate(now).expect("rotated");
    let path = |name: &str| state.path().join(name);
    let long = format!("{}.example.com", ["x".repeat(60), "y".repeat(60)].join("."));
    for (text, option) in [
        ("api.openai.com", "-verify_hostname"),
        (long.as_str(), "-verify_hostname"),
        ("127.0.0.1", "-verify_ip"),
    ] {
        let leaf = authority.leaf(&name(text), true, now).expect("a leaf");
        let pem = |der: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", der));
        fs::write(path("leaf.pem"), pem(&leaf.cert[0])).expect("written");
        fs::write(path("rest.pem"), pem(&leaf.cert[1])).expect("written");
        let all = authority.anchors(now);
        for anchors in [authority.certificate().pem, all.replace(&authority.certificate().pem, "")]
        {
            fs::write(path("anchors.pem"), anchors).expect("written");
            let mut command = Command::new("openssl");
            command.args(["verify", "-x509_strict", "-purpose", "sslserver", option, text]);
            command.arg("-CAfile").arg(path("anchors.pem"));
            command.arg("-untrusted").arg(path("rest.pem")).arg(path("leaf.pem"));
            let output = command.output().expect("openssl is installed");
            assert!(output.status.success(), "{text}: {output:?}");
        }
    }
}
