"""
Tests for L{tlstunnel.reveal.postgresql}.
"""

from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.errors import Malformed, Oversize, Refused, TunnelError
from tlstunnel.identity.names import Identity
from tlstunnel.protocols.implicit import implicit
from tlstunnel.protocols.postgresql import postgresql as dialect
from tlstunnel.reveal.disclosure import Disclosure
from tlstunnel.reveal.identitymap import IdentityMap, Names, OwnNames
from tlstunnel.reveal.postgresql import applicationName, parametersOf, postgresql, setsName
from tlstunnel.testing.dialogues import split
from tlstunnel.testing.memory import Driver

JOHN = Identity.parse("john@example.org")
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
GSSENC_REQUEST = bytes.fromhex("0000000804d21630")
CANCEL = bytes.fromhex("0000001004d2162e0000007b000001c8")
LONG_CANCEL = struct.pack(">III", 268, 0x04D2162E, 123) + bytes(256)

WHO = b"application_name\0john@example.org\0"
PASSWORD = b"p\0\0\0\x08abc\0"


def startup(parameters: bytes = b"user\0john\0\0", version: int = 0x00030000) -> bytes:
    """
    A StartupMessage.
    """
    return struct.pack(">II", 8 + len(parameters), version) + parameters


def driver(names: Names | None = None, identity: Identity | None = JOHN) -> Driver:
    """
    A tunnel within TLS, up to where the client begins its session.
    """
    words = [(postgresql, names or OwnNames())]
    taken = Driver(dialect, "server", words=words, identity=identity)
    taken.play([("C", SSL_REQUEST), ("S", b"S")])
    taken.handshake()
    return taken


def passed(message: bytes, names: Names | None = None, identity: Identity | None = JOHN) -> bytes:
    """
    What the backend is given of C{message}.

    @raise TunnelError: if it ends the connection.
    """
    taken = driver(names, identity)
    taken.feed("C", message)
    if taken.error is not None:
        assert not taken.plain.written
        raise taken.error
    return taken.plain.written


# What the backend is given for what a client says.
PASSES = {
    "a name alone": (b"user\0john\0\0", b"user\0john\0" + WHO + b"\0"),
    "the whole identity": (
        b"user\0john@example.org\0\0",
        b"user\0john@example.org\0" + WHO + b"\0",
    ),
    "an empty application_name": (
        b"user\0john\0application_name\0\0\0",
        b"user\0john\0" + WHO + b"\0",
    ),
    "an application_name of spaces": (
        b"application_name\0 \t\0user\0john\0\0",
        WHO + b"user\0john\0\0",
    ),
    "a database": (
        b"user\0john\0database\0books\0\0",
        b"user\0john\0database\0books\0" + WHO + b"\0",
    ),
    "replication": (
        b"user\0john\0replication\0true\0\0",
        b"user\0john\0replication\0true\0" + WHO + b"\0",
    ),
    "an option of the protocol": (
        b"user\0john\0_pq_.x\0001\0\0",
        b"user\0john\0_pq_.x\0001\0" + WHO + b"\0",
    ),
    "other options": (
        b"user\0john\0options\0-c geqo=off --search-path=a\\ b\0\0",
        b"user\0john\0options\0-c geqo=off --search-path=a\\ b\0" + WHO + b"\0",
    ),
    "settings in their case": (
        b"user\0john\0DateStyle\0ISO\0TimeZone\0UTC\0\0",
        b"user\0john\0DateStyle\0ISO\0TimeZone\0UTC\0" + WHO + b"\0",
    ),
}

# What a client may call a session.
KEPT = (b"psql", b"DBeaver 23.1.0 - Main", b"PostgreSQL JDBC Driver", b"caf\xc3\xa9", b"a/b", b"-")

# What it may not, as it could be somebody.
REPLACED = (
    *(b"ann@example.org", b"john@example.org", b" ann@example.org ", b"x ann@example.org"),
    *(b"www.example.org", b" www.example.org", b"www.example.org x", b"192.0.2.1", b"2001:db8::1"),
    *(b"spiffe://x/y", b"x spiffe://x", b"sha256//AAAA=", b"www.example.org\xc2\xa0"),
    *(
        b"\x01www.example.org",
        b"a" * 46 + b"~0123456789abcdef",
        b"@",
        b"ann\xef\xbc\xa0example.org",
    ),
    b"a." + b"b" * 60 + b" c",
)

# Parameters that are refused in words.
REFUSED = {
    "another user": b"user\0ann\0\0",
    "no user": b"database\0john\0\0",
    "an empty user": b"user\0\0\0",
    "another case": b"user\0John\0\0",
    "a domain in capitals": b"user\0john@EXAMPLE.ORG\0\0",
    "a space behind": b"user\0john \0\0",
    "letters that are alike": "user\0j\u043ehn\0\0".encode(),
    "no UTF-8": b"user\0john\xff\0\0",
    "the superuser": b"user\0postgres\0\0",
    "another user's domain": b"user\0john@example.com\0\0",
    "-c": b"user\0john\0options\0-c application_name=ann@example.org\0\0",
    "-c together": b"user\0john\0options\0-capplication_name=x\0\0",
    "--": b"user\0john\0options\0--application_name=x\0\0",
    "hyphens": b"user\0john\0options\0--application-name=x\0\0",
    "capitals": b"user\0john\0options\0-c Application_NAME=x\0\0",
    "backslashes": b"user\0john\0options\0-c appl\\ication\\_name=x\0\0",
    "two letters": b"user\0john\0options\0-Ec application_name=x\0\0",
    "a letter for --": b"user\0john\0options\0-E-application_name=x\0\0",
    "another white space": b"user\0john\0options\0-c\vapplication_name=x\0\0",
    "behind others": b"user\0john\0options\0-c geqo=off -c application_name=x\0\0",
}

# Messages that no server should be asked to understand.
BROKEN = {
    "two users": b"user\0john\0user\0ann\0\0",
    "two users in different case": b"user\0john\0USER\0ann\0\0",
    "a user in capitals": b"USER\0john\0\0",
    "options in capitals": b"user\0john\0Options\0-c application_name=x\0\0",
    "two names": b"user\0john\0application_name\0a\0Application_Name\0ann@example.org\0\0",
    "options twice": b"user\0john\0options\0\0options\0-c application_name=x\0\0",
    "something behind the end": b"user\0john\0\0user\0ann\0\0",
    "a NUL in the user": b"user\0john\0ann\0\0",
    "no end": b"user\0john\0",
    "a name without a value": b"user\0john\0database\0",
    "a value without its end": b"user\0john\0database\0x",
    "no parameters": b"\0",
    "NUL alone": b"\0\0\0",
    "a name that is empty": b"\0x\0user\0john\0\0",
}


class StartupTests(SynchronousTestCase):
    """
    How sessions begin.
    """

    def test_oneHasTheIdentityAsItsName(self) -> None:
        """
        Where it has none of its own.
        """
        for title, (said, given_) in PASSES.items():
            self.assertEqual(passed(startup(said)), startup(given_), title)

    def test_itIsReadHoweverItArrives(self) -> None:
        """
        Cut anywhere, with what follows behind it.
        """
        said, given_ = PASSES["a database"]
        for pieces in split(startup(said) + PASSWORD):
            taken = driver()
            for piece in pieces:
                taken.feed("C", piece)
            self.assertEqual(taken.plain.written, startup(given_) + PASSWORD)

    def test_aNameThatIsNobodysIsKept(self) -> None:
        """
        As applications give them.
        """
        for name in KEPT:
            said = startup(b"user\0john\0application_name\0" + name + b"\0\0")
            self.assertEqual(passed(said), said, name)

    def test_aNameThatCouldBeSomebodysIsReplaced(self) -> None:
        """
        In whatever case the parameter is.
        """
        for name in REPLACED:
            for key in (b"application_name", b"Application_Name"):
                said = startup(b"user\0john\0" + key + b"\0" + name + b"\0\0")
                self.assertEqual(passed(said), startup(b"user\0john\0" + WHO + b"\0"), name)

    def test_everyVersion3IsPassed(self) -> None:
        """
        What a server does not know of it, it says itself.
        """
        for version in (0x00030000, 0x00030002, 0x00039999):
            said, given_ = PASSES["a name alone"]
            self.assertEqual(passed(startup(said, version)), startup(given_, version))

    def test_somebodyElseIsRefused(self) -> None:
        """
        In words, and the backend hears nothing.
        """
        for title, said in REFUSED.items():
            taken = driver()
            taken.feed("C", startup(said))
            assert isinstance(taken.error, Refused), title
            self.assertEqual(taken.error.who, "the client", title)
            self.assertEqual(taken.plain.written, b"", title)
            written = taken.network.written
            self.assertTrue(written.startswith(b"E"), title)
            self.assertEqual(struct.unpack(">I", written[1:5])[0], len(written) - 1, title)
            self.assertIn(b"SFATAL\0VFATAL\0C28000\0M", written, title)
            self.assertTrue(written.endswith(b"\0\0"), title)
            self.assertEqual(taken.network.ending, "closed")

    def test_aNameCannotEscapeFromTheError(self) -> None:
        """
        It is quoted.
        """
        taken = driver()
        taken.feed("C", startup(b'user\0x\n"\xff\0\0'))
        self.assertIn(rb'"x\x0a\x22\xff"', taken.network.written)

    def test_whatIsBrokenIsRefused(self) -> None:
        """
        Nothing of it is passed.
        """
        for title, said in BROKEN.items():
            error = self.assertRaises(TunnelError, passed, startup(said))
            self.assertIsInstance(error, Malformed, title)

    def test_whatIsTooLongIsRefused(self) -> None:
        """
        A server takes no more than 10,000 bytes either.
        """
        longest = b"user\0john\0x\0%s\0\0" % (b"a" * (10004 - 8 - 14))
        self.assertIn(b"aaa", passed(startup(longest)))
        self.assertRaises(Malformed, passed, startup(longest.replace(b"aa", b"aaa", 1)))
        self.assertRaises(Oversize, passed, struct.pack(">II", 1 << 31, 0x00030000))

    def test_encryptionWithinTLSIsRefused(self) -> None:
        """
        The backend could take it for granted, and what follows would be hidden.
        """
        for said in (SSL_REQUEST, GSSENC_REQUEST):
            self.assertRaises(Refused, passed, said + startup())
        for said in (b"\x16\x03\x01\0\0\0\0\0", b"GET / HTTP/1.1\r\n", startup(version=0x00020000)):
            self.assertRaises(TunnelError, passed, said)

    def test_aQueryIsCancelledByAnybodyWithItsKey(self) -> None:
        """
        There is no user in a CancelRequest.
        """
        for said in (CANCEL, LONG_CANCEL):
            self.assertEqual(passed(said), said)

    def test_aMapSaysWhoMayBeWho(self) -> None:
        """
        And the own name is none, if it is not there.
        """
        path = Path(self.mktemp())
        path.write_text("postgresql john@example.org ann\n")
        names = IdentityMap.read(path, "postgresql")
        self.assertEqual(passed(startup(b"user\0ann\0" + WHO + b"\0"), names)[8:17], b"user\0ann\0")
        self.assertRaises(Refused, passed, startup(), names)

    def test_theWordReadsItsMap(self) -> None:
        """
        When the tunnel is prepared.
        """
        path = Path(self.mktemp())
        path.write_text("postgresql john@example.org ann\n")
        self.assertEqual(
            list(postgresql.prepare(Disclosure(identityMap=path)).names(JOHN)), ["ann"]
        )
        self.assertTrue(postgresql.needsIdentity)

    def test_aNameThatAServerWouldCutIsRefused(self) -> None:
        """
        It would become another one.
        """
        for user, mayLogIn in (("a" * 63, True), ("a" * 64, False)):
            identity = Identity(user, "example.org")
            said = startup(b"user\0" + user.encode() + b"\0\0")
            if mayLogIn:
                self.assertIn(user.encode(), passed(said, identity=identity))
            else:
                self.assertRaises(Refused, passed, said, None, identity)

    def test_nobodyIsRefused(self) -> None:
        """
        Nobody has proved anything.
        """
        self.assertRaises(Refused, passed, startup(), None, None)
        self.assertRaises(Refused, passed, startup(b"user\0None\0\0"), None, None)

    def test_withoutNegotiationItIsTheSame(self) -> None:
        """
        TLS from the first byte.
        """
        for user, error in ((b"john", None), (b"ann", Refused)):
            taken = Driver(implicit, "server", words=[(postgresql, OwnNames())], identity=JOHN)
            taken.handshake()
            taken.feed("C", startup(b"user\0" + user + b"\0\0") + PASSWORD)
            self.assertEqual(type(taken.error), error or type(None))
            expected = startup(b"user\0john\0" + WHO + b"\0") + PASSWORD
            self.assertEqual(taken.plain.written, b"" if error else expected)

    def test_withoutTheWordNothingIsTouched(self) -> None:
        """
        Whatever the user is.
        """
        taken = Driver(dialect, "server", identity=JOHN)
        taken.play([("C", SSL_REQUEST), ("S", b"S")])
        taken.handshake()
        said = startup(BROKEN["two users"])
        taken.feed("C", said)
        self.assertEqual(taken.plain.written, said)


class ParametersTests(SynchronousTestCase):
    """
    Parameters, read as any server reads them.
    """

    @given(st.binary(max_size=40))
    def test_whateverIsReadHasOneMeaning(self, body: bytes) -> None:
        """
        What was read is what it is made of.
        """
        try:
            read = parametersOf(startup(body))
        except Malformed:
            return
        fields = b"".join(key + b"\0" + value + b"\0" for key, value in read.items())
        self.assertEqual(fields.lower() + b"\0", body.lower())

    @given(
        st.sampled_from([b"-c ", b"-c", b"--", b"-E -c ", b"-Ec", b"\t-c\n"]),
        st.lists(st.tuples(st.booleans(), st.booleans()), min_size=16, max_size=16),
        st.booleans(),
    )
    def test_noSpellingIsOverlooked(
        self, option: bytes, letters: list[tuple[bool, bool]], hyphen: bool
    ) -> None:
        """
        Letters in either case, with or without a backslash.
        """
        name = b"application-name" if hyphen else b"application_name"
        spelt = b""
        for number, (isCapital, isEscaped) in zip(name, letters, strict=True):
            letter = bytes((number,))
            spelt += b"\\" * isEscaped + (letter.upper() if isCapital else letter)
        self.assertTrue(setsName(option + spelt + b"=x"))

    def test_anIdentityIsToldApartHoweverLongItIs(self) -> None:
        """
        Servers keep 63 bytes of a name.
        """
        long = Identity.parse("john@" + "a" * 63 + ".example.org")
        other = Identity.parse("john@" + "a" * 63 + ".example.com")
        names = {applicationName(each) for each in (long, other, JOHN)}
        self.assertEqual(len({name[:63] for name in names}), 3)
        self.assertTrue(all(len(name) <= 63 for name in names))
