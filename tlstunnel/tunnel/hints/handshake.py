"""
What to do where the handshake of TLS fails, by our word or by that of the peer.
"""

from __future__ import annotations

from tlstunnel.errors import Closed, Malformed, Reset, TimedOut, TLSFailed, Truncated
from tlstunnel.net.proxyheader import NO_HEADER
from tlstunnel.tls.failures import OWED
from tlstunnel.tunnel.description import Mode
from tlstunnel.tunnel.hints.hint import Hint

#: Of what a client has to show or to ask for, and of alerts that we were sent.
HANDSHAKE_HINTS = (
    # What comes before all else.
    Hint(
        (Malformed, TimedOut),
        "let whoever connects from there send a header (HAProxy: send-proxy-v2; nginx: "
        "proxy_protocol on), or leave the address out of --proxy-from",
        causes=(f"{NO_HEADER} ",),
    ),
    Hint(
        (TLSFailed,),
        "see whether the token or TPM is there, and whoever serves it; then restart, as one that "
        "was away does not come back by itself",
        causes=("token ",),
    ),
    Hint(
        (TLSFailed,),
        "let the server have fewer names in its certificate, a shorter chain, or a shorter list "
        "of the authorities from which it takes certificates",
        Mode.CLIENT,
        causes=("long handshake ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client have fewer names in its certificate, or a shorter chain",
        Mode.SERVER,
        causes=("long handshake ",),
    ),
    # What we ask of clients.
    Hint(
        (TLSFailed,),
        "let the client show a certificate (tlstunnel: --local-id), or leave out --remote-id",
        Mode.SERVER,
        causes=("no certificate ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client ask for a name of our certificate, or give --any-name",
        Mode.SERVER,
        causes=("wrong name ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client ask for a name (SNI), or leave out --require-sni",
        Mode.SERVER,
        causes=("no name asked ",),
    ),
    Hint(
        (TLSFailed,),
        "let the client ask for the same name before TLS and in it",
        Mode.SERVER,
        causes=("other name ",),
    ),
    # What servers want of us, and what alerts say.
    Hint(
        (TLSFailed, Closed, Reset, Truncated),
        "the server may want a certificate from us: give --local-id; its log should say",
        Mode.CLIENT,
        causes=(f"{OWED} ",),
    ),
    Hint(
        (TLSFailed,),
        "the server wants a certificate from us: give --local-id; where that is auto, "
        "'tlstunnel identity disclose' shows whom the rules show to it",
        Mode.CLIENT,
        causes=("alert certificate_required ",),
    ),
    Hint(
        (TLSFailed,),
        "the peer does not know the CA of our certificate: let it trust that one, or use a "
        "certificate from a CA that it knows",
        causes=("alert unknown_ca ",),
    ),
    Hint(
        (TLSFailed,),
        "our certificate was revoked: get another one, with a new key",
        causes=("alert certificate_revoked ",),
    ),
    Hint((TLSFailed,), "renew our certificate", causes=("alert certificate_expired ",)),
    Hint(
        (TLSFailed,),
        "the server has no certificate for that name: check --remote-id",
        Mode.CLIENT,
        causes=("alert unrecognized_name ",),
    ),
    Hint(
        (TLSFailed,),
        "the peer does not speak TLS 1.2 or 1.3, or not as --minimum-tls wants it",
        causes=("alert protocol_version ", "old version "),
    ),
    Hint(
        (TLSFailed,),
        "the peer speaks none of our application protocols: check --alpn",
        causes=("alert no_application_protocol ",),
    ),
    Hint(
        (TLSFailed,),
        "the server may want a certificate from us (--local-id), or knows none of our cipher "
        "suites; its log should say",
        Mode.CLIENT,
        causes=("alert handshake_failure ",),
    ),
    Hint(
        (TLSFailed,),
        "the client may not trust our certificate, or want another name; its log should say",
        Mode.SERVER,
        causes=("alert bad_certificate ", "alert certificate_unknown "),
    ),
    Hint((TLSFailed,), "look into the log of the peer, which ended it", causes=("alert ",)),
)
