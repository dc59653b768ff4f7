"""
Tests for L{tlstunnel.protocols.ldap}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Quit, Refused, TooManyErrors, TunnelError
from tlstunnel.protocols.base import ClientRole
from tlstunnel.protocols.ldap import NOTICE_OF_DISCONNECTION, START_TLS, ldap
from tlstunnel.testing.conformance import ClientConformance, ServerConformance
from tlstunnel.testing.dialogues import client, said, server

REQUEST = bytes.fromhex("301d020101 7718 8016") + START_TLS
SUCCESS = bytes.fromhex("300c020101 7807 0a0100 0400 0400")

# The same, as Active Directory encodes it.
ACTIVE_DIRECTORY = bytes.fromhex("308400000010 020101 788400000007 0a0100 0400 0400")

# A bind as nobody, an unbind, and an abandon.
BIND = bytes.fromhex("300c020101 6007 020103 0400 8000")
UNBIND = bytes.fromhex("3005020103 4200")
ABANDON = bytes.fromhex("3006020104 500101")


def ber(tag: int, content: bytes, size: int = 0) -> bytes:
    """
    One element, with its length in so many bytes, or in the short form.
    """
    if not size:
        assert len(content) < 128
        return bytes((tag, len(content))) + content
    return bytes((tag, 0x80 | size)) + len(content).to_bytes(size, "big") + content


def answer(content: bytes, messageID: bytes = b"\x01", tag: int = 0x78, size: int = 2) -> bytes:
    """
    A response with that content, whose length has C{size} bytes.
    """
    return ber(0x30, ber(0x02, messageID) + ber(tag, content, size), 2)


def outcome(code: int, words: bytes = b"") -> bytes:
    """
    The content of an LDAPResult.
    """
    return ber(0x0A, bytes((code,))) + ber(0x04, b"") + ber(0x04, words, 1)


NAME = ber(0x8A, START_TLS)

SUCCESSES = {
    "the shortest": SUCCESS,
    "Active Directory": ACTIVE_DIRECTORY,
    "with the name": answer(outcome(0) + NAME),
    "with words": answer(outcome(0, b"welcome")),
    "with a value": answer(outcome(0) + NAME + ber(0x8B, b"x")),
    "with what a later version may add": answer(outcome(0) + ber(0x8F, b"x")),
    "with controls": ber(0x30, SUCCESS[2:] + ber(0xA0, b"")),
    "with long numbers": answer(ber(0x0A, bytes(3)) + ber(4, b"") + ber(4, b""), b"\0\0\x01"),
}
SUCCESSES |= {
    f"with {size} bytes of length": ber(0x30, answer(outcome(0), size=size)[4:], size)
    for size in (1, 2, 3, 4, 5, 126)
}

FAILURES: dict[str, tuple[bytes, type[TunnelError]]] = {
    "operationsError": (answer(outcome(1, b"TLS already started")), Refused),
    "protocolError": (answer(outcome(2, b"unsupported extended operation")), Refused),
    "referral": (answer(outcome(10) + ber(0xA3, ber(4, b"ldap://evil.example"))), Refused),
    "unavailable": (answer(outcome(52)), Refused),
    "an unknown code": (answer(outcome(99)), Refused),
    "a negative code": (answer(outcome(255)), Refused),
    "notice of disconnection": (answer(outcome(52), b"\0"), Refused),
    "another message id": (answer(outcome(0), b"\x02"), Malformed),
    "a message id that ends as ours": (answer(outcome(0), b"\x01\x01"), Malformed),
    "a negative message id": (answer(outcome(0), b"\xff"), Malformed),
    "no message id": (answer(outcome(0), b""), Malformed),
    "a long message id": (answer(outcome(0), bytes(4) + b"\x01"), Malformed),
    "the response to a bind": (answer(outcome(0), tag=0x61), Malformed),
    "our request, reflected": (REQUEST, Malformed),
    "an intermediate response": (answer(outcome(0), tag=0x79), Malformed),
    "another name": (answer(outcome(0) + ber(0x8A, b"1.3.6.1.4.1.4203.1.11.3")), Malformed),
    "a name that starts as ours": (answer(outcome(0) + ber(0x8A, START_TLS + b"1")), Malformed),
    "no result": (answer(b""), Malformed),
    "half a result": (answer(ber(0x0A, b"\0")), Malformed),
    "a result in another order": (answer(ber(4, b"") * 2 + ber(0x0A, b"\0")), Malformed),
    "no code": (answer(ber(0x0A, b"") + ber(4, b"") * 2), Malformed),
    "a code of five bytes": (answer(ber(0x0A, bytes(5)) + ber(4, b"") * 2), Malformed),
    "an inner length that is too long": (ber(0x30, bytes.fromhex("020101 7808 0a0100")), Malformed),
    "an inner length that is missing": (ber(0x30, bytes.fromhex("020101 78")), Malformed),
    "an inner length of no known form": (ber(0x30, bytes.fromhex("020101 7880")), Malformed),
    "an inner length that is cut": (ber(0x30, bytes.fromhex("020101 788400")), Malformed),
    "an indefinite length": (bytes.fromhex("3080020101 78") + bytes(20), Malformed),
    "a length of 127 bytes": (b"\x30\xff" + bytes(126) + b"\x0c" + bytes(20), Malformed),
    "a length of 4 GiB": (bytes.fromhex("3084ffffffff") + bytes(20), Oversize),
    "a length above the limit": (bytes.fromhex("30821001") + bytes(20), Oversize),
    "an empty message": (bytes.fromhex("3000"), Malformed),
    "no LDAP": (b"220 mail.example.org ESMTP\r\n", Malformed),
    "TLS": (b"\x16\x03\x03\x00\x02", Malformed),
}

# Of disconnection; the second as Active Directory writes it.
NOTICES = [
    answer(outcome(52, b"bye") + ber(0x8A, NOTICE_OF_DISCONNECTION), b"\0"),
    ber(
        0x30,
        ber(0x02, b"\0") + ber(0x78, outcome(80) + ber(0x8A, NOTICE_OF_DISCONNECTION, 4), 4),
        4,
    ),
]

# A request of each kind, with the tag of its response.
REQUESTS = {
    "bind": (0x60, 0x61),
    "search": (0x63, 0x65),
    "modify": (0x66, 0x67),
    "add": (0x68, 0x69),
    "delete": (0x4A, 0x6B),
    "modify DN": (0x6C, 0x6D),
    "compare": (0x6E, 0x6F),
}


class ClientTests(ClientConformance, SynchronousTestCase):
    """
    The client role.
    """

    dialect = ldap
    dialogue = [("C", REQUEST), ("S", SUCCESS)]
    variants = [(1, response) for response in SUCCESSES.values()]
    failures = [(1, *failure) for failure in FAILURES.values()]
    farewells = NOTICES

    def test_theReasonIsNamedAndQuoted(self) -> None:
        """
        For the log only.
        """
        driver = client(ldap)
        driver.network.feed(answer(outcome(53, b"not\r\nhere")))
        self.assertIn(
            'unwillingToPerform (53); the server said "not\\x0d\\x0ahere"', str(driver.error)
        )

    def test_aNoticeAndTheStartOfMoreIsNoFarewell(self) -> None:
        """
        At once, and not once that is whole: what follows a farewell is no part of it.
        """
        role = client(ldap).role
        assert isinstance(role, ClientRole)
        for notice in NOTICES:
            self.assertIs(role.isFarewell(notice), True)
            for more in (b"X", b"0", bytes.fromhex("3005"), notice):
                self.assertIs(role.isFarewell(notice + more), False)

    @given(st.binary(max_size=200), st.binary(max_size=40))
    def test_noOtherBytesAreTakenForSuccess(self, head: bytes, tail: bytes) -> None:
        """
        Whatever comes, there is an error of ours, or patience, but no TLS.
        """
        for data in (head, ber(0x30, head, 1), answer(tail), answer(outcome(7) + tail)):
            driver = client(ldap)
            driver.network.feed(data)
            self.assertFalse(driver.network.isTLS)
            self.assertIsInstance(driver.error, TunnelError | None)


BIND_REFUSED = bytes.fromhex("300c02010161070a010d04000400")


class ServerTests(ServerConformance, SynchronousTestCase):
    """
    The server role.
    """

    dialect = ldap
    dialogue = [("C", REQUEST), ("S", SUCCESS)]
    variants = [(0, ber(0x30, REQUEST[2:] + ber(0xA0, b"x"))), (0, ber(0x30, REQUEST[2:], 3))]
    answers = {ABANDON: b""}
    needsTLS = {
        BIND: BIND_REFUSED,
        BIND + BIND: BIND_REFUSED * 2,
        **{
            ber(0x30, ber(0x02, b"\x05") + ber(request, b"secret")): ber(
                0x30, ber(0x02, b"\x05") + ber(response, bytes.fromhex("0a010d 0400 0400"))
            )
            for request, response in REQUESTS.values()
        },
    }
    farewells = [
        (UNBIND, b"", Quit),
        (BIND * 10, BIND_REFUSED * 10, TooManyErrors),
        (SUCCESS, b"", Malformed),
        (ber(0x30, ber(0x02, b"\x01") + ber(0x7E, b"")), b"", Malformed),
        (ber(0x30, ber(0x02, b"\0") + ber(0x60, b"")), b"", Malformed),
        (ber(0x30, ber(0x60, b"")), b"", Malformed),
        (ber(0x30, ber(0x02, b"\x01") + ber(0x77, b"")), b"", Malformed),
        (ber(0x30, ber(0x02, b"\x01") + ber(0x77, ber(0x81, b"x"))), b"", Malformed),
        (bytes.fromhex("3080") + REQUEST[2:] + bytes(2), b"", Malformed),
        (b"EHLO client.example.org\r\n", b"", Malformed),
        (bytes.fromhex("30821001"), b"", Oversize),
        (bytes.fromhex("3083001001"), b"", Oversize),
        (bytes.fromhex("3084ffffffff"), b"", Oversize),
    ]
    endless = [(0, ABANDON)]

    def test_theMessageIDIsRepeated(self) -> None:
        """
        Of any length, in requests of any form.
        """
        for messageID in (b"\x01", b"\x7f", b"\x00\x80", b"\x7f\xff\xff\xff", b"\0\0\0\x05"):
            for size in range(5):
                driver = server(ldap)
                asking = ber(0x77, ber(0x80, START_TLS, size), size)
                written = said(driver, ber(0x30, ber(0x02, messageID) + asking, size))
                expected = ber(0x30, ber(0x02, messageID) + SUCCESS[5:])
                self.assertEqual(written, expected)
                self.assertEqual(driver.stage, "switched")

    def test_everyOtherRequestNeedsConfidentiality(self) -> None:
        """
        Each is refused in its own response, and StartTLS is possible afterwards.
        """
        driver = server(ldap)
        for number, (what, (request, response)) in enumerate(REQUESTS.items(), 1):
            messageID = ber(0x02, bytes((number,)))
            written = said(driver, ber(0x30, messageID + ber(request, b"secret")))
            refusal = ber(response, bytes.fromhex("0a010d 0400 0400"))
            self.assertEqual(written, ber(0x30, messageID + refusal), what)
        self.assertEqual(said(driver, REQUEST), SUCCESS)

    def test_otherExtendedRequestsNeedItToo(self) -> None:
        """
        Names are compared whole, and StartTLS has no value.
        """
        for content in (
            ber(0x80, b"1.3.6.1.4.1.4203.1.11.3"),
            ber(0x80, START_TLS + b"7"),
            ber(0x80, START_TLS[:-1]),
            ber(0x80, START_TLS) + ber(0x81, b"x"),
        ):
            driver = server(ldap)
            written = said(driver, ber(0x30, ber(0x02, b"\x09") + ber(0x77, content)))
            self.assertEqual(written, bytes.fromhex("300c020109 7807 0a010d 0400 0400"))
            self.assertEqual(driver.stage, "clear")

    @given(st.binary(max_size=300))
    def test_nothingElseIsTakenForARequest(self, data: bytes) -> None:
        """
        Errors are ours, whatever comes, and nobody is dialled.
        """
        for stream in (data, ber(0x30, data, 2), ber(0x30, ber(0x02, b"\x01") + data, 2)):
            driver = server(ldap)
            driver.network.feed(stream)
            self.assertFalse(driver.backendDialled)
            self.assertFalse(driver.network.isTLS)
            self.assertIsInstance(driver.error, TunnelError | None)
