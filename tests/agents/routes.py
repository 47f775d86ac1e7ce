"""A process that tries to get bytes out of its agent, by one route after another.

    routes.py ROUTE SINK4 SINK6 [PLACE]    try a route to the sink's addresses
    routes.py sink INTERFACE               say what arrives there, whatever it is
    routes.py mark SINK4                   show the sink that all before has arrived
    routes.py hand PLACE SINK4             the other end of the routes that pass descriptors
    routes.py resolve SERVER NAME          ask a DNS server
    routes.py resolver ADDRESS             be one, for whom every name is 192.0.2.7

Every payload starts with PAYLOAD and the route's name. The sink looks at whole frames, so no route
can be missed; a mark from a process that nothing stops tells that nothing more is on its way.
A route prints one line: what became of the try. PLACE is a directory for files that start things.
"""

import array
import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
import time

PAYLOAD = b"TURNPIKE:"
SIZE = 200
TCP_PORT, UDP_PORT, QUIC_PORT, DNS_PORT, MARK_PORT = 7000, 7001, 443, 53, 7999


def payload(route):
    return (PAYLOAD + route.encode() + b":").ljust(SIZE, b"x")


def wait_for(path):
    for _ in range(3000):
        if os.path.exists(path):
            return
        time.sleep(0.01)
    raise SystemExit(f"waited in vain for {path}")


def ready(place):
    """Says that it stands ready, and waits to be told to go on."""
    open(os.path.join(place, "ready"), "w").close()
    wait_for(os.path.join(place, "go"))


# --- TCP and UDP ---------------------------------------------------------------------------------


def send_udp_connected(to, port, name, device=None):
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    if device:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    s.connect((to, port))
    s.send(payload(name))


def udp_connected(v4, v6, place):
    send_udp_connected(v4, UDP_PORT, "udp_connected")


def udp_connected6(v4, v6, place):
    send_udp_connected(v6, UDP_PORT, "udp_connected6")


def udp_to_device(v4, v6, place):
    send_udp_connected(v4, UDP_PORT, "udp_to_device", b"eth0")


def udp_sendto(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(payload("udp_sendto"), (v4, UDP_PORT))


def udp_sendto6(v4, v6, place):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.sendto(payload("udp_sendto6"), (v6, UDP_PORT))


def udp_mapped(v4, v6, place):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.sendto(payload("udp_mapped"), ("::ffff:" + v4, UDP_PORT))


def udp_large(v4, v6, place):
    """More than one packet: the kernel makes fragments of it."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(payload("udp_large") * 50, (v4, UDP_PORT))


def quic_connected(v4, v6, place):
    send_udp_connected(v4, QUIC_PORT, "quic_connected")


def quic_sendto(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(payload("quic_sendto"), (v4, QUIC_PORT))


def dns_elsewhere(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(payload("dns_elsewhere"), (v4, DNS_PORT))


def unspec_udp(v4, v6, place):
    """Connected to the loopback first, then to nobody, then elsewhere."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("127.0.0.1", 9))
    disconnect(s)
    s.connect((v4, UDP_PORT))
    s.send(payload("unspec_udp"))


def unspec_tcp(v4, v6, place):
    here = socket.create_server(("127.0.0.1", 0))
    s = socket.socket()
    s.connect(here.getsockname())
    disconnect(s)
    s.connect((v4, TCP_PORT))
    s.sendall(payload("unspec_tcp"))
    finish(s)


def disconnect(s):
    address = struct.pack("H14x", socket.AF_UNSPEC)
    check(libc.connect(s.fileno(), address, len(address)))


def tcp(v4, v6, place):
    s = socket.create_connection((v4, TCP_PORT), timeout=5)
    s.sendall(payload("tcp"))
    finish(s)


def tcp_to_device(v4, v6, place):
    s = socket.socket()
    s.settimeout(5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    s.connect((v4, TCP_PORT))
    s.sendall(payload("tcp_to_device"))
    finish(s)


def fastopen(v4, v6, place):
    s = socket.socket()
    s.sendto(payload("fastopen"), socket.MSG_FASTOPEN, (v4, TCP_PORT))
    finish(s)


def mptcp(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    s.settimeout(5)
    s.connect((v4, TCP_PORT))
    s.sendall(payload("mptcp"))
    finish(s)


def finish(s):
    """Waits until the other end has read all of it."""
    s.settimeout(5)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)


# --- Other protocols -----------------------------------------------------------------------------


def raw(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
    s.sendto(payload("raw"), (v4, 0))


def raw6(v4, v6, place):
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 253)
    s.sendto(payload("raw6"), (v6, 0))


def raw_udp(v4, v6, place):
    """A UDP packet to an allowed port, by hand."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    data = payload("raw_udp")
    s.sendto(struct.pack("!4H", 5353, UDP_PORT, 8 + len(data), 0) + data, (v4, 0))


def icmp(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1) + payload("icmp"), (v4, 0))


def icmp_raw(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + payload("icmp_raw"), (v4, 0))


def icmp6(v4, v6, place):
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.sendto(struct.pack("!BBHHH", 128, 0, 0, 1, 1) + payload("icmp6"), (v6, 0))


def udplite(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)
    s.sendto(payload("udplite"), (v4, UDP_PORT))


def sctp(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
    s.settimeout(5)
    s.connect((v4, TCP_PORT))
    s.send(payload("sctp"))


def packet(v4, v6, place):
    """A frame by hand, past all of IP. Not closed by any hook: see `turnpike doctor`."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x88B5)
    s.sendto(payload("packet"), ("eth0", 0x88B5, 0, 0, b"\xff" * 6))


# --- Sockets older than the attach ---------------------------------------------------------------


def old_tcp(v4, v6, place):
    go_on(socket.create_connection((v4, TCP_PORT), timeout=5), "old_tcp", place)


def old_tcp6(v4, v6, place):
    go_on(socket.create_connection((v6, TCP_PORT), timeout=5), "old_tcp6", place)


def old_mptcp(v4, v6, place):
    """The kernel has made the sockets below it, in no process's name."""
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    s.connect((v4, TCP_PORT))
    go_on(s, "old_mptcp", place)


def go_on(s, name, place):
    ready(place)
    s.sendall(payload(name))
    s.settimeout(1)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)


def old_udp(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((v4, UDP_PORT))
    ready(place)
    s.send(payload("old_udp"))


def old_raw(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    ready(place)
    data = payload("old_raw")
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 0, 0, 64, 17, 0,
        socket.inet_aton("127.0.0.1"), socket.inet_aton(v4),
    )
    s.sendto(head + data, (v4, 0))


def old_raw_udp(v4, v6, place):
    """As old_raw, to a port that may be allowed."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    ready(place)
    data = payload("old_raw_udp")
    s.sendto(struct.pack("!4H", 5353, UDP_PORT, 8 + len(data), 0) + data, (v4, 0))


def udp_options(v4, v6, place):
    """With an IPv4 option, such as a source route."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\1\1\1\0")
    s.sendto(payload("udp_options"), (v4, UDP_PORT))


def old_raw6(v4, v6, place):
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    ready(place)
    s.sendto(struct.pack("!BBHHH", 128, 0, 0, 1, 1) + payload("old_raw6"), (v6, 0))


def inbound(v4, v6, place):
    """A server; the client is outside."""
    server = socket.create_server(("0.0.0.0", 9000))
    server.settimeout(5)
    ready(place)
    s, _ = server.accept()
    s.sendall(payload("inbound"))
    finish(s)


# --- Descriptors ---------------------------------------------------------------------------------


def received(v4, v6, place):
    """A socket that a process outside connected, and passed on."""
    unix = join(place)
    _, data, _, _ = unix.recvmsg(1, socket.CMSG_SPACE(4))
    s = socket.socket(fileno=array.array("i", data[0][2][:4])[0])
    s.sendall(payload("received"))
    finish(s)


def given(v4, v6, place):
    """A socket of the agent's, used by a process outside."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    unix = join(place)
    pass_on(unix, s)
    print(unix.recv(100).decode() or "nothing", flush=True)
    raise SystemExit


def join(place):
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wait_for(os.path.join(place, "socket"))
    unix.connect(os.path.join(place, "socket"))
    unix.send(sys.argv[1].encode())
    return unix


def pass_on(unix, s):
    descriptors = array.array("i", [s.fileno()])
    unix.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


def hand(place, v4):
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.path.join(place, "socket")
    server.bind(path + ".new")
    server.listen()
    os.rename(path + ".new", path)
    unix, _ = server.accept()
    route = unix.recv(100).decode()
    if route == "received":
        pass_on(unix, socket.create_connection((v4, TCP_PORT), timeout=5))
        unix.recv(1)
    else:
        _, data, _, _ = unix.recvmsg(1, socket.CMSG_SPACE(4))
        s = socket.socket(fileno=array.array("i", data[0][2][:4])[0])
        unix.send(outcome(lambda: s.sendto(payload(route), (v4, UDP_PORT))).encode())


# --- io_uring ------------------------------------------------------------------------------------


def uring_udp(v4, v6, place):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ring = Ring()
    ring.connect(s, v4, UDP_PORT)
    ring.send(s, payload("uring_udp"))


def uring_tcp(v4, v6, place):
    s = socket.socket()
    ring = Ring()
    ring.connect(s, v4, TCP_PORT)
    ring.send(s, payload("uring_tcp"))
    finish(s)


class Ring:
    """As little of io_uring as it takes: one entry at a time (linux/io_uring.h)."""

    CONNECT, SEND = 16, 26

    def __init__(self):
        params = ctypes.create_string_buffer(120)
        self.fd = check(libc.syscall(425, 1, params))
        sq = struct.unpack_from("10I", params, 40)
        cq = struct.unpack_from("10I", params, 80)
        self.sq_tail, self.sq_mask, self.sq_array = sq[1], sq[2], sq[6]
        self.cq_head, self.cq_mask, self.cqes = cq[0], cq[2], cq[5]
        entries = struct.unpack_from("2I", params, 0)
        flags, access = mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        size = max(sq[6] + entries[0] * 4, cq[5] + entries[1] * 16)
        self.ring = mmap.mmap(self.fd, size, flags, access, offset=0)
        self.sqes = mmap.mmap(self.fd, entries[0] * 64, flags, access, offset=0x10000000)

    def run(self, operation, s, address, length, offset):
        entry = struct.pack("<BBHiQQIIQ24x", operation, 0, 0, s.fileno(), offset, address, length, 0, 1)
        (tail,) = struct.unpack_from("I", self.ring, self.sq_tail)
        (mask,) = struct.unpack_from("I", self.ring, self.sq_mask)
        self.sqes[(tail & mask) * 64 : (tail & mask) * 64 + 64] = entry
        struct.pack_into("I", self.ring, self.sq_array + (tail & mask) * 4, tail & mask)
        struct.pack_into("I", self.ring, self.sq_tail, tail + 1)
        check(libc.syscall(426, self.fd, 1, 1, 1, None, 0))
        (head,) = struct.unpack_from("I", self.ring, self.cq_head)
        (mask,) = struct.unpack_from("I", self.ring, self.cq_mask)
        _, result, _ = struct.unpack_from("<QiI", self.ring, self.cqes + (head & mask) * 16)
        struct.pack_into("I", self.ring, self.cq_head, head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def connect(self, s, to, port):
        address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(to))
        self.run(self.CONNECT, s, ctypes.addressof(ctypes.create_string_buffer(address, 16)), 0, 16)

    def send(self, s, data):
        buffer = ctypes.create_string_buffer(data, len(data))
        self.run(self.SEND, s, ctypes.addressof(buffer), len(data), 0)


libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# --- The sink ------------------------------------------------------------------------------------


def sink(interface):
    """Prints the name in each payload that arrives on the interface, one a line."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    frames.bind((interface, 0))
    server = socket.create_server(("::", TCP_PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    print("ready", flush=True)
    if os.fork() == 0:
        while True:
            s, _ = server.accept()
            if os.fork() == 0:
                while s.recv(65536):
                    pass
                os._exit(0)
            s.close()
    while True:
        frame, address = frames.recvfrom(65536)
        place = frame.find(PAYLOAD)
        if address[2] != socket.PACKET_OUTGOING and place >= 0:
            print(frame[place + len(PAYLOAD) :].split(b":")[0].decode(), flush=True)


def mark(v4):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(payload("mark"), (v4, MARK_PORT))


# --- DNS -----------------------------------------------------------------------------------------


def resolve(server, name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    question = labels + b"\0" + struct.pack("!2H", 1, 1)
    s.sendto(struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + question, (server, DNS_PORT))
    print(socket.inet_ntoa(s.recv(1000)[-4:]), flush=True)


def resolver(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, DNS_PORT))
    print("ready", flush=True)
    while True:
        query, client = s.recvfrom(1000)
        head = query[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
        answer = struct.pack("!3HIH4B", 0xC00C, 1, 1, 300, 4, 192, 0, 2, 7)
        s.sendto(head + query[12:] + answer, client)


def outcome(attempt):
    try:
        attempt()
        return "sent"
    except TimeoutError:
        return "timed out"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def main():
    what, words = sys.argv[1], sys.argv[2:]
    if what in ("sink", "mark", "hand", "resolve", "resolver"):
        globals()[what](*words)
        return
    v4, v6, place = (words + [None])[:3]
    print(outcome(lambda: globals()[what](v4, v6, place)), flush=True)


main()
