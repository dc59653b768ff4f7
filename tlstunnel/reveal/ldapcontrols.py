"""
Proxied authorisation (RFC 4370), and what else may come with a request.

A control of which we know nothing could say for whom a request is, as this one does.  So those pass
that are known not to; as for all others we are a server that does not know them (RFC 4511, section
4.1.11): they are left out, and where a client insists, its request is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlstunnel.protocols.ldap import EXTENDED_REQUEST, REQUEST_NAME, START_TLS
from tlstunnel.reveal.ldapmessages import Control, Request

OPERATIONS_ERROR = 1
_PROTOCOL_ERROR = 2
_UNAVAILABLE_CRITICAL_EXTENSION = 12
_AUTHORIZATION_DENIED = 123

PROXIED_AUTHORIZATION = b"2.16.840.1.113730.3.4.18"

# Those that say for whom a request is: this one, and the form of its drafts.
_AUTHORIZING = {PROXIED_AUTHORIZATION, b"2.16.840.1.113730.3.4.12"}

#: Those that say something else.
HARMLESS = {
    b"1.2.826.0.1.3344810.2.3",  # matched values (RFC 3876)
    b"1.2.840.113556.1.4.319",  # paged results (RFC 2696)
    b"1.2.840.113556.1.4.473",  # sorting (RFC 2891)
    b"1.2.840.113556.1.4.805",  # tree delete
    b"1.2.840.113556.1.4.1339",  # domain scope
    b"1.2.840.113556.1.4.1340",  # search options
    b"1.2.840.113556.1.4.1413",  # permissive modify
    b"1.3.6.1.1.12",  # assertion (RFC 4528)
    b"1.3.6.1.1.13.1",  # pre-read (RFC 4527)
    b"1.3.6.1.1.13.2",  # post-read
    b"1.3.6.1.1.22",  # do not use copy (RFC 6171)
    b"1.3.6.1.4.1.42.2.27.8.5.1",  # password policy
    b"1.3.6.1.4.1.4203.1.9.1.1",  # content synchronisation (RFC 4533)
    b"1.3.6.1.4.1.4203.1.10.1",  # subentries (RFC 3672)
    b"1.3.6.1.4.1.4203.1.10.2",  # no operation
    b"1.3.6.1.4.1.4203.666.5.12",  # relaxed rules
    b"1.3.6.1.4.1.4203.666.5.16",  # dereferencing
    b"2.16.840.1.113730.3.4.2",  # the entry of a referral (RFC 3296)
    b"2.16.840.1.113730.3.4.3",  # persistent search
    b"2.16.840.1.113730.3.4.9",  # virtual list views
}

#: The extended operations for which the specification of proxied authorisation, or a server that
#: has it, is known to take it.
WHO_AM_I = b"1.3.6.1.4.1.4203.1.11.3"
PASSWORD_MODIFY = b"1.3.6.1.4.1.4203.1.11.1"
REFRESH = b"1.3.6.1.4.1.1466.101.119.1"
_EXTENDED = {WHO_AM_I, PASSWORD_MODIFY, REFRESH}


def actingFor(authzID: bytes) -> Control:
    """
    The control by which a request is served as if it came from somebody else; it is critical, so
    that a server that does not know it does nothing.

    @param authzID: who that is, as RFC 4513 has it in section 5.2.1.8; empty for nobody.
    """
    return Control(PROXIED_AUTHORIZATION, True, authzID)


def objection(request: Request) -> tuple[int, str] | None:
    """
    Why a request must not pass, as a result code and words; C{None} if it may.
    """
    names = {each.name for each in request.controls}
    if names & _AUTHORIZING:
        # RFC 4370, section 3.
        return _AUTHORIZATION_DENIED, "for whom a request is, is not for you to say"
    if any(each.isCritical and each.name not in HARMLESS for each in request.controls):
        return _UNAVAILABLE_CRITICAL_EXTENSION, "a control that does not pass here"
    if request.operation == EXTENDED_REQUEST:
        return _extendedObjection(dict(request.fields)[REQUEST_NAME])
    return None


def _extendedObjection(name: bytes) -> tuple[int, str] | None:
    if name == START_TLS:
        # RFC 4511, section 4.14.1.
        return OPERATIONS_ERROR, "this is TLS"
    if name not in _EXTENDED:
        # RFC 4511, section 4.12.
        return _PROTOCOL_ERROR, "an extended operation that does not pass here"
    return None


def passing(controls: Sequence[Control]) -> list[Control]:
    """
    Those that pass.
    """
    return [each for each in controls if each.name in HARMLESS]
