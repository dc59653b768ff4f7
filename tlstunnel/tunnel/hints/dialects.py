"""
What to do where the two sides begin differently, or speak different languages.
"""

from __future__ import annotations

from tlstunnel.errors import (
    BackendRefused,
    Closed,
    ForeignProtocol,
    Malformed,
    NotOffered,
    Oversize,
    PlaintextAfterStartTLS,
    Refused,
    Reset,
    TimedOut,
    TLSFailed,
)
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint
from tlstunnel.tunnel.record import HANDSHAKING, NEGOTIATING

_SPOKEN = (Malformed, Closed, Refused, TimedOut, Oversize, Reset)

#: Of what is said before TLS, or instead of it.
DIALECT_HINTS = (
    # Of monitoring.
    Hint(
        (Refused,),
        "give upsd a certificate in upsd.conf: CERTPATH and CERTIDENT with the TLS of NSS, as "
        "Debian's has it, CERTFILE with that of OpenSSL",
        Mode.CLIENT,
        causes=("no certificate of upsd ",),
    ),
    Hint(
        (Refused,),
        "replace it by an upsd with TLS, or let a tunnel in server mode stand before it",
        Mode.CLIENT,
        causes=("no TLS in upsd ",),
    ),
    Hint(
        (Refused,),
        "connect to upsd itself: what answers there has no TLS with us",
        Mode.CLIENT,
        causes=("TLS before upsd ",),
    ),
    Hint(
        (Closed,),
        "let the node allow the tunnel's address: allow or cidr_allow in munin-node.conf",
        Mode.CLIENT,
        causes=("no greeting of a node ",),
    ),
    Hint(
        (Refused,),
        "give the node a key: tls_private_key and tls_certificate in munin-node.conf",
        Mode.CLIENT,
        causes=("no node key ",),
    ),
    # Of chats.
    Hint(
        (Refused,),
        "if the backend has that domain, give it as one more --local-id, or take a certificate "
        "that has it as well",
        Mode.SERVER,
        causes=("unknown domain ",),
    ),
    # Of databases.
    Hint(
        (TLSFailed,),
        "if that is PostgreSQL 16 or older, leave out --dialect-option direct, which it does not "
        "know",
        Mode.CLIENT,
        causes=("no direct TLS ",),
    ),
    # Of messaging.
    Hint(
        (PlaintextAfterStartTLS,),
        "clients that begin with TLS need --dialect-option handshake-first here; those that wait "
        "for INFO need a port of their own then",
        Mode.SERVER,
        causes=("TLS before INFO ",),
    ),
    Hint(
        (TimedOut, TLSFailed),
        "a client that waits for INFO needs a port without --dialect-option handshake-first, or "
        "has to begin with TLS: tls_handshake_first in nats-py, TLSHandshakeFirst in nats.go",
        Mode.SERVER,
        (HANDSHAKING,),
        ("INFO awaited ",),
    ),
    Hint(
        (BackendRefused,),
        "leave tls out of its configuration, or let it have allow_non_tls there",
        Mode.SERVER,
        causes=("TLS in the backend ",),
    ),
    Hint(
        (Closed,),
        "a server with handshake_first needs --dialect-option handshake-first; else check that it "
        "speaks nats",
        Mode.CLIENT,
        causes=("no INFO ",),
    ),
    Hint(
        (ForeignProtocol,),
        "a server that says INFO in clear first needs no --dialect-option handshake-first: leave "
        "that out",
        Mode.CLIENT,
        causes=("INFO in clear ",),
    ),
    # Where the certificate is the login.
    Hint(
        (BackendRefused,),
        "let the backend believe this host, as docs/who-is-there.md has it, and check "
        "--login-auth-file; if it knows users by other names than their identities, give them in "
        "--identity-map",
        Mode.SERVER,
        causes=("no login ",),
    ),
    # Of block devices.
    Hint(
        (Refused,),
        "switch TLS on in the server: certfile and keyfile in nbd-server's configuration, --tls of "
        "nbdkit, --tls-creds of qemu-nbd",
        Mode.CLIENT,
        causes=("no TLS for disks ",),
    ),
    Hint(
        (NotOffered, BackendRefused),
        "a server of NBD since nbd 3.3 or QEMU 2.6 is needed; leave out -o in nbdkit",
        causes=("old NBD ",),
    ),
    # Of screens.
    Hint(
        (NotOffered,),
        "give the server a certificate and a type for it: X509Cert, X509Key and SecurityTypes "
        "X509Vnc of TigerVNC, -ssl and -vencrypt of x11vnc, tls-creds of QEMU; or let a tunnel in "
        "server mode stand before it",
        Mode.CLIENT,
        causes=("no VeNCrypt ",),
    ),
    Hint(
        (Malformed, Refused, Closed),
        "use a viewer that knows VeNCrypt with X509 certificates, such as TigerVNC's, and let it "
        "pick what is offered",
        Mode.SERVER,
        causes=("no VeNCrypt ",),
    ),
    Hint(
        (NotOffered, BackendRefused),
        "give the login that is there as --dialect-option: none, vncauth, or plain",
        causes=("another VNC login ",),
    ),
    Hint(
        (Closed,),
        "if it is a viewer, it may lack VeNCrypt with X509 certificates, or the login of "
        "--dialect-option",
        Mode.SERVER,
        causes=("no VNC type in common ",),
    ),
    Hint(
        (BackendRefused,),
        "let the backend have a login without TLS, as SecurityTypes VncAuth of TigerVNC, and "
        "listen at loopback alone; or if it wants a name without TLS, give --dialect-option plain",
        Mode.SERVER,
        causes=("VNC with TLS ",),
    ),
    Hint(
        (Refused, BackendRefused),
        "look for the reason there; TigerVNC refuses an address after failed logins, and all who "
        "come through a tunnel have the same one: see BlacklistThreshold and UseBlacklist",
        causes=("VNC wants nobody ",),
    ),
    # One side has TLS from the first byte, and the other has not.
    Hint(
        _SPOKEN,
        "the server speaks TLS from the first byte there: leave out {upgrade}",
        Mode.CLIENT,
        (NEGOTIATING,),
        ("TLS ",),
    ),
    Hint(
        (ForeignProtocol,),
        "a server that begins in clear needs --starttls {usual}",
        Mode.CLIENT,
        (HANDSHAKING,),
        ("no TLS ",),
        isImplicit=True,
    ),
    Hint(
        (ForeignProtocol,),
        "if it forwards connections for clients, name its address in --proxy-from; else let it "
        "send no header",
        Mode.SERVER,
        causes=("PROXY ",),
    ),
    Hint(
        (ForeignProtocol,),
        "let clients use STARTTLS here, or serve those with TLS from the first byte at another "
        "port, without {upgrade}",
        Mode.SERVER,
        causes=("TLS ",),
    ),
    Hint(
        (ForeignProtocol,),
        "let the client speak TLS from the first byte; if it expects STARTTLS, --starttls is "
        "missing here; if it sends a header of the PROXY protocol, --proxy-from is",
        Mode.SERVER,
        (HANDSHAKING,),
        ("no TLS ",),
        isImplicit=True,
    ),
    Hint(
        (TimedOut,),
        "a client that waits for a greeting expects STARTTLS: let it speak TLS from the first "
        "byte, or give --starttls",
        Mode.SERVER,
        (HANDSHAKING,),
        isImplicit=True,
    ),
    Hint(
        (TimedOut, Closed, Reset, TLSFailed),
        "servers at port {port} begin in clear: give --starttls {usual}",
        Mode.CLIENT,
        (HANDSHAKING,),
        ("clear port ",),
        isImplicit=True,
    ),
    # Another protocol.
    Hint(
        (*_SPOKEN, ForeignProtocol),
        "the server seems to speak {speaks}: check the port, and --starttls {dialect}",
        Mode.CLIENT,
        (NEGOTIATING,),
        ("speaks ",),
    ),
    Hint(
        (TimedOut, Closed),
        "if that server speaks TLS from the first byte, leave out {upgrade}; else check that it "
        "speaks {dialect}",
        Mode.CLIENT,
        (NEGOTIATING,),
    ),
    Hint(
        (Malformed, Oversize, ForeignProtocol),
        "check that a server of {dialect} listens there",
        Mode.CLIENT,
        (NEGOTIATING,),
    ),
    Hint(
        (NotOffered, Refused),
        "switch TLS on in the server; or if it has a port with TLS from the first byte, connect "
        "there without {upgrade}",
        Mode.CLIENT,
        (NEGOTIATING,),
    ),
    Hint(
        (Malformed, ForeignProtocol),
        "this port is for clients that speak {dialect}: check which port this one is set to",
        Mode.SERVER,
        (NEGOTIATING,),
    ),
    Hint(
        (Malformed,),
        "check that the backend speaks HTTP/1 in clear at this port",
        Mode.SERVER,
        causes=("no HTTP ",),
    ),
    # What it is to be told.
    Hint(
        (BackendRefused,),
        "let the backend believe this host: smtpd_authorized_xclient_hosts in Postfix, "
        "login_trusted_networks in Dovecot",
        Mode.SERVER,
        causes=("no XCLIENT ",),
    ),
    Hint(
        (BackendRefused,),
        "let the backend believe this host: smtpd_authorized_xforward_hosts in Postfix",
        Mode.SERVER,
        causes=("no XFORWARD ",),
    ),
    Hint(
        (BackendRefused,),
        "let the backend know addresses of IPv6, as clients have them: inet_protocols = all in "
        "Postfix",
        Mode.SERVER,
        causes=("no IPv6 ",),
    ),
)
