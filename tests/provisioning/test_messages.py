"""
Messages of LDAP and of content synchronization: what is read of them, and that whatever else comes
is refused with an error of ours.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.provisioning.examples import (
    entryContent,
    idSet,
    info,
    refreshed,
    result,
    stateValue,
    told,
    uuid,
)
from tlstunnel.errors import Malformed, Oversize
from tlstunnel.protocols.ber import OCTETS, SEQUENCE, SET, element, elements
from tlstunnel.provisioning import sync
from tlstunnel.provisioning.cookies import MAX_COOKIE, merged, toSend
from tlstunnel.provisioning.messages import (
    MAX_VALUES,
    Entry,
    bindExternal,
    readMessage,
    search,
)
from tlstunnel.provisioning.sync import EntryState, Info, State

_UUIDS = st.binary(min_size=16, max_size=16)
_COOKIES = st.binary(min_size=1, max_size=40)

ONE, TWO = (b"20261129120000.00000%d#000000#00%d#000000" % (each, each) for each in (1, 2))
ONE, TWO = (each.replace(b"#", b"Z#", 1) for each in (ONE, TWO))
LATER = ONE.replace(b"1200", b"1300")


def _content(message: bytes) -> bytes:
    ((_, content),) = elements(message)
    return content


class MessageTests(SynchronousTestCase):
    """
    Requests and answers.
    """

    def test_theCredentialsOfABindAreThereAndEmpty(self) -> None:
        """
        Else the server would ask for a second step.
        """
        self.assertEqual(
            bindExternal(1).hex(" "),
            "30 18 02 01 01 60 13 02 01 03 04 00 a3 0c 04 08 45 58 54 45 52 4e 41 4c 04 00",
        )

    def test_theSearchAsksForContentSynchronization(self) -> None:
        """
        With a cookie only where there is one.
        """
        for cookie, expected in (b"", "30 03 0a 01 03"), (b"x", "30 06 0a 01 03 04 01 78"):
            message = readMessage(_content(search(7, "dc=x", [b"cn"], [sync.request(cookie)])))
            self.assertEqual((message.number, message.operation), (7, 0x63))
            value = message.control(sync.REQUEST)
            assert value is not None
            self.assertEqual(value.hex(" "), expected)

    def test_anEntryIsReadWithItsState(self) -> None:
        """
        Names of attributes without options, and in lower case.
        """
        content = entryContent("cn=x,dc=y", {"userCertificate;binary": [b"1", b"2"], "CN": [b"x"]})
        message = readMessage(_content(told(3, 1, uuid(5), content, b"c")))
        found = Entry.read(message.content)
        self.assertEqual(found.name, "cn=x,dc=y")
        self.assertEqual(found.attributes, {"usercertificate": (b"1", b"2"), "cn": (b"x",)})
        value = message.control(sync.STATE)
        assert value is not None
        self.assertEqual(sync.readState(value), EntryState(State.ADD, uuid(5), b"c"))

    def test_anEntryWithTooManyValuesIsRefused(self) -> None:
        """
        However they are spread.
        """
        attributes: tuple[dict[str, list[bytes]], ...] = (
            {f"a{n}": [b""] * 101 for n in range(MAX_VALUES // 100)},
            {f"a{n}": [] for n in range(MAX_VALUES + 1)},
            {"a": [b""] * MAX_VALUES},
        )
        for several in attributes:
            self.assertRaises(Oversize, Entry.read, entryContent("cn=x", several))

    def test_aMessageOfAMillionElementsIsRefusedUnread(self) -> None:
        """
        What has only a few of them is looked at no further.
        """
        many = b"\x05\x00" * 100000
        for content in (
            b"\x02\x01\x01\x64\x00" + many,
            b"\x02\x01\x01\x64\x00" + element(0xA0, many),
            b"\x02\x01\x01\x64\x00" + element(0xA0, element(SEQUENCE, many)),
        ):
            error = self.assertRaises(Malformed, readMessage, content)
            self.assertIn("more than", str(error))
        for read, value in (
            (sync.readInfo, many),
            (sync.readInfo, element(0xA1, many)),
            (sync.readState, element(SEQUENCE, many)),
        ):
            error = self.assertRaises(Malformed, read, value)
            self.assertIn("more than", str(error))

    def test_anEntryWeighsWhatItTakesToKeepIt(self) -> None:
        """
        A thousand values of nothing are a thousand objects.
        """
        entry = Entry.read(entryContent("cn=x", {"a": [b""] * (MAX_VALUES - 1)}))
        self.assertGreater(entry.weight, MAX_VALUES * 90)

    @given(st.binary(max_size=120))
    def test_whateverComesIsReadOrRefused(self, data: bytes) -> None:
        """
        By every reader.
        """
        for read in (readMessage, Entry.read, sync.readState, sync.readInfo):
            try:
                read(data)
            except (Malformed, Oversize):
                continue

    @given(st.data())
    def test_whateverIsBrokenIsReadOrRefused(self, data: st.DataObject) -> None:
        """
        Also where one byte alone is wrong, or the end is missing.
        """
        whole = data.draw(
            st.sampled_from(
                [
                    told(3, 1, uuid(5), entryContent("cn=x", {"cn": [b"x"]}), b"c"),
                    info(3, idSet([uuid(1), uuid(2)], True, b"c")),
                    info(3, refreshed(True, b"c")),
                    result(3, 0x65, 4096),
                ]
            )
        )
        at = data.draw(st.integers(0, len(whole) - 1))
        broken = bytearray(whole)
        broken[at] ^= data.draw(st.integers(1, 255))
        broken = broken[: data.draw(st.integers(at, len(whole)))]
        try:
            message = readMessage(_content(bytes(broken)))
            Entry.read(message.content)
            sync.readState(message.control(sync.STATE) or b"")
        except (Malformed, Oversize, ValueError):
            # The last is of who takes apart more or less than one element, here above.
            return


class SyncTests(SynchronousTestCase):
    """
    What is said between entries.
    """

    @given(st.frozensets(_UUIDS, max_size=5), st.booleans(), _COOKIES)
    def test_aSetNamesWhatIsGoneOrPresent(
        self, uuids: frozenset[bytes], areGone: bool, cookie: bytes
    ) -> None:
        """
        One or the other.
        """
        found = sync.readInfo(idSet(uuids, areGone, cookie))
        expected = Info(cookie, gone=uuids) if areGone else Info(cookie, present=uuids)
        self.assertEqual(found, expected)

    def test_phasesEnd(self) -> None:
        """
        With and without a cookie, and the refresh with them unless it is said that it does not.
        """
        for present in True, False:
            for isDone in True, False:
                for cookie in b"", b"c":
                    found = sync.readInfo(refreshed(present, cookie, isDone))
                    self.assertEqual(found, Info(cookie, endsPresent=present, endsRefresh=isDone))

    def test_aNewCookieComesAlone(self) -> None:
        """
        Without anything else.
        """
        self.assertEqual(sync.readInfo(b"\x80\x01c"), Info(b"c"))

    def test_whatIsNoneIsRefused(self) -> None:
        """
        One of each kind.
        """
        for what, value in {
            "an unknown kind": b"\xa4\x00",
            "two of them": b"\x80\x01c\x80\x01c",
            "a short UUID": element(0xA3, element(SET, element(OCTETS, b"x"))),
            "no set": element(0xA3, element(OCTETS, b"x")),
            "a long cookie": element(0x80, bytes(MAX_COOKIE + 1)),
        }.items():
            with self.subTest(what):
                self.assertRaises(Malformed, sync.readInfo, value)
        for what, value in {
            "no such state": stateValue(4, uuid(1)),
            "a short UUID": stateValue(1, b"x"),
            "nothing": element(SEQUENCE),
        }.items():
            with self.subTest(what):
                self.assertRaises(Malformed, sync.readState, value)


class CookieTests(SynchronousTestCase):
    """
    How far we are with whom.
    """

    def test_theNumberOfTheServerIsNotSentBack(self) -> None:
        """
        It would take us for itself.
        """
        self.assertEqual(toSend(b"rid=000,sid=001,csn=" + ONE), b"rid=000,csn=" + ONE)
        for opaque in b"", b"anything", b"rid=1,csn=nonsense":
            self.assertEqual(toSend(opaque), opaque)

    def test_ofEachServerTheLatestIsKept(self) -> None:
        """
        What comes with a change is about one of them.
        """
        before = b"rid=000,csn=" + ONE + b";" + TWO
        after = merged(before, b"rid=000,sid=002,csn=" + LATER)
        self.assertEqual(after, b"rid=000,csn=" + LATER + b";" + TWO)
        self.assertEqual(merged(after, b"rid=000,csn=" + ONE), after)
        self.assertEqual(merged(b"rid=000", b"rid=000,csn=" + ONE), b"rid=000,csn=" + ONE)
        self.assertEqual(merged(before, b"opaque"), b"opaque")

    def test_ofMoreServersThanACookieCanNameAllIsAskedForAgain(self) -> None:
        """
        A cookie that grows without end could be neither sent nor read again.
        """
        cookie = b"rid=000"
        for number in range(200):
            csn = b"20261129120000.000000Z#000000#%x#000000" % number
            cookie = merged(cookie, b"rid=000,csn=" + csn)
            self.assertLessEqual(len(cookie), MAX_COOKIE)
            if not cookie:
                break
        self.assertEqual(cookie, b"")

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_whateverItIsACookieComesOfIt(self, before: bytes, after: bytes) -> None:
        """
        The newer one, where nothing is known of them.
        """
        self.assertEqual(merged(before, b"x" + after), b"x" + after)
