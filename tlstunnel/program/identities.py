"""
The settings that say who we are, whom we expect, and whom we believe: rows of the table in
L{tlstunnel.program.options}.
"""

from __future__ import annotations

from tlstunnel.program.addressvalues import resolver
from tlstunnel.program.option import Option, Scope, Section
from tlstunnel.program.values import inFolder, pin, shown, text, trustInFolder
from tlstunnel.tunnel.description import Mode


def _agent(value: object) -> str:
    """
    A socket of our host, by its path; as an agent may have it on its own command line.
    """
    words = text(value).removeprefix("unix:")
    if not words or words.startswith(("systemd:", "@")):
        raise ValueError(f"{shown(value)} is no path; give that of the agent's socket")
    return words


#: What OpenSSL needs where keys are somewhere else.
KEY_PROVIDERS = (
    Option(
        "key-provider",
        Section.IDENTITIES,
        "the provider of OpenSSL for keys that are in a token or a TPM, such as pkcs11.so",
        "The file privkey.pem then says where the key is. Without this the link key-provider in "
        "the pool counts. It is for server tunnels without `remote-id`.",
        argument="FILE",
        parse=text,
        default=None,
        scope=Scope.PROCESS,
        place=inFolder,
    ),
    Option(
        "pkcs11-module",
        Section.IDENTITIES,
        "the PKCS#11 module that this provider is to load; by default whatever it finds",
        "Without `key-provider` the link pkcs11-module in the pool counts.",
        argument="FILE",
        parse=text,
        default=None,
        scope=Scope.PROCESS,
        place=inFolder,
    ),
)

IDENTITIES = (
    Option(
        "local-id",
        Section.IDENTITIES,
        "who we are; required with `server` and `bridge`, and there each of several is chosen by "
        "the name that a client asks for (SNI); with `client`, auto is whomever the rules of the "
        "pool show",
        "Repeatable there: the first is for clients that ask for no name, and what we call "
        "ourselves before TLS. With `client` it is only needed to show a certificate, or to use a "
        "pre-shared key; with auto the files disclose/SELECTOR.txt in the pool say who we are "
        "to each server. With `server` and pre-shared keys it may be left out.",
        short="L",
        argument="ID|auto",
        parse=text,
        default=(),
        isRepeatable=True,
    ),
    Option(
        "remote-id",
        Section.IDENTITIES,
        "who must be at the other end. With `client` the server's identity, by default the host "
        "name in `remote`; with `server` a selector (domain, .domain, @domain, ...), or several: "
        "given, clients must show a certificate that one of them matches",
        "Where `remote` is an address, `client` requires it. Without it, `server` asks for no "
        "certificate. Repeatable with `server`. With `bridge` it is as with `client`. A workload "
        "is spiffe://domain/path; with a slash at its end all below it are meant.",
        short="R",
        argument="ID",
        parse=text,
        default=(),
        isRepeatable=True,
    ),
    Option(
        "remote-id-file",
        Section.IDENTITIES,
        "a file with more of them, one a line; # begins a comment",
        "Repeatable. It is read again as certificates are. An empty one lets nobody in.",
        argument="FILE",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.SERVER,
        inBridge=False,
        place=inFolder,
    ),
    Option(
        "deny-id",
        Section.IDENTITIES,
        "a selector of those who are refused, whatever else their certificates say",
        "Repeatable. A certificate is refused if any of its names is denied. Users and domains are "
        "apart: example.org denies nobody@example.org nothing; @example.org does.",
        argument="ID",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.SERVER,
    ),
    Option(
        "deny-id-file",
        Section.IDENTITIES,
        "a file with more of them, as `remote-id-file`",
        "Repeatable. An empty one denies nobody.",
        argument="FILE",
        parse=text,
        default=(),
        isRepeatable=True,
        mode=Mode.SERVER,
        place=inFolder,
    ),
    Option(
        "pin",
        Section.IDENTITIES,
        "a key that the peer may have, besides all else: the SHA-256 of its public key, as curl "
        "has it (sha256//BASE64)",
        "Repeatable: any of them will do. With `trust` pins the key alone decides, and with "
        "`server` those are let in who have one.",
        argument="HASH",
        parse=pin,
        default=(),
        isRepeatable=True,
    ),
    Option(
        "pool",
        Section.IDENTITIES,
        "where identities and trust are kept, by default in /etc/tlstunnel/pool for root, else in "
        "~/.config/tlstunnel/pool",
        argument="DIR",
        parse=text,
        default=None,
        place=inFolder,
    ),
    Option(
        "close-withdrawn",
        Section.IDENTITIES,
        "when a certificate of ours is withdrawn, also end the connections that were made with it",
        "New ones are refused in any case. What is withdrawn is for the pool to say, as 'tlstunnel "
        "pool pull' does where a directory has no certificate any more.",
    ),
    Option(
        "agent",
        Section.IDENTITIES,
        "the UNIX socket of 'tlstunnel identity agent', which gives certificates for `local-id` "
        "that are good for minutes, instead of those in `pool`",
        "The tunnel makes a key for each, which nobody else ever has, and asks for the next "
        "certificate at about half of its time. For private authorities.",
        argument="SOCKET",
        parse=_agent,
        default=None,
        place=inFolder,
    ),
    Option(
        "trust",
        Section.IDENTITIES,
        "whom to believe about remote identities, instead of the pool's word: a file of "
        "certificates in PEM form, a directory of them, or the system's store; several are read "
        "together; or dane, with `client`: the TLSA records of the name expected; or psk: the "
        "pre-shared keys in the pool",
        "Repeatable. In a directory those files count that are called *.pem, *.crt or *.cer, and "
        "the links of c_rehash(1). What is no certificate there is passed over, with a line in the "
        "log. Of users and workloads, the system's store knows none. With pins, which stands "
        "alone, nobody's word counts, and the keys of `pin` decide. Beside dane the others count "
        "for a server of which DNS proves that it has no such records. With psk, which stands "
        "alone, too, there are no certificates, but keys that both ends were given beforehand: "
        "with `client` that of `local-id`, with `server` those of all whom `remote-id` selects.",
        argument="FILE|DIR|system|pins|dane|psk",
        parse=text,
        default=(),
        isRepeatable=True,
        place=trustInFolder,
    ),
    Option(
        "dane-resolver",
        Section.IDENTITIES,
        "where to look up those records: a resolver on this host that validates, such as 127.0.0.1",
        "Its port is 53 where none is given. What it says is believed, so that it has to have a "
        "loopback address.",
        argument="ADDR",
        parse=resolver,
        default=None,
        mode=Mode.CLIENT,
    ),
)
