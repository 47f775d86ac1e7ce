//! Which DNS servers a container was told to ask.

use std::{
    io::{self, Read as _},
    net::IpAddr,
    path::Path,
};

use super::root::Root;
use crate::limits;

/// The name servers in the `/etc/resolv.conf` that a process sees; none if there is no such file. It
/// is read as [`Root`] reads, and so may wait.
pub fn of_process(pid: u32) -> io::Result<Vec<IpAddr>> {
    below(&Root::of_process(pid)?)
}

fn below(root: &Root) -> io::Result<Vec<IpAddr>> {
    let Some(found) = root.find(Path::new("etc/resolv.conf"))? else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    found.open()?.take(limits::RESOLV_CONF_BYTES).read_to_end(&mut bytes)?;
    Ok(parse(&bytes))
}

/// resolv.conf(5): lines of `nameserver ADDRESS`, of which resolvers use the first three.
fn parse(text: &[u8]) -> Vec<IpAddr> {
    let text = String::from_utf8_lossy(text);
    let server = |line: &str| {
        let address = line.strip_prefix("nameserver")?;
        let address = address.strip_prefix([' ', '\t'])?.split_whitespace().next()?;
        // The zone of a link-local address says by which interface; the kernel sees the address.
        address.split('%').next()?.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    };
    text.lines().filter_map(server).take(MAXNS).collect()
}

/// As many as the C library has room for (`MAXNS` in resolv.h).
const MAXNS: usize = 3;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        parse(text.as_bytes()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn name_servers_are_read_as_resolvers_read_them() {
        let text = "# nameserver 10.0.0.1\nsearch example.com\nnameserver\t10.0.0.2 # two\n\
                    nameserver fe80::1%eth0\n nameserver 10.0.0.3\nnameserverx 10.0.0.4\n\
                    nameserver nonsense\nnameserver ::ffff:10.0.0.5\nnameserver 10.0.0.6\n";
        assert_eq!(parsed(text), ["10.0.0.2", "fe80::1", "10.0.0.5"]);
        assert!(parse(&[0xff, 0xfe, 0]).is_empty());
    }

    /// A root with an `/etc` in it.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("etc")).expect("made");
        root
    }

    fn read(root: &tempfile::TempDir) -> io::Result<Vec<IpAddr>> {
        below(&Root::at(root.path()).expect("it is there"))
    }

    #[test]
    fn links_are_followed_inside_of_the_root_only() {
        let (root, elsewhere) = (root(), tempfile::tempdir().expect("a directory"));
        assert_eq!(read(&root).expect("none"), [] as [IpAddr; 0]);
        let outside = elsewhere.path().join("secret");
        fs::write(&outside, "nameserver 10.0.0.1\n").expect("written");
        let conf = root.path().join("etc/resolv.conf");
        symlink(&outside, &conf).expect("made");
        assert_eq!(read(&root).expect("it leads nowhere"), [] as [IpAddr; 0]);
        fs::write(root.path().join("real"), "nameserver 10.0.0.2\n").expect("written");
        fs::remove_file(&conf).expect("there");
        symlink("../../../real", &conf).expect("made");
        assert_eq!(read(&root).expect("inside"), [IpAddr::from([10, 0, 0, 2])]);
    }

    #[test]
    fn only_regular_files_are_opened_and_only_so_much_of_them_is_read() {
        let root = root();
        let conf = root.path().join("etc/resolv.conf");
        mknodat(CWD, &conf, FileType::Fifo, Mode::RWXU, 0).expect("made");
        assert!(read(&root).is_err(), "opening it would wait for ever");
        fs::remove_file(&conf).expect("there");
        fs::create_dir(&conf).expect("made");
        assert!(read(&root).is_err());
        fs::remove_dir(&conf).expect("there");
        let filler = "#".repeat(usize::try_from(limits::RESOLV_CONF_BYTES).expect("small"));
        fs::write(&conf, format!("nameserver 10.0.0.1\n{filler}\nnameserver 10.0.0.2\n"))
            .expect("written");
        assert_eq!(read(&root).expect("read"), [IpAddr::from([10, 0, 0, 1])]);
    }

    #[test]
    fn our_own_file_can_be_read() {
        of_process(std::process::id()).expect("it is a regular file, or missing");
        assert!(of_process(u32::MAX).is_err());
    }
}
