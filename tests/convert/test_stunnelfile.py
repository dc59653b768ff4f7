"""
Tests for L{tlstunnel.convert.stunnelfile}: the grammar of stunnel's file.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import DATA, described
from tlstunnel.convert.stunnel import convert
from tlstunnel.convert.stunnelfile import (
    DEEPEST,
    LARGEST_FILE,
    LONGEST_LINE,
    MOST_FILES,
    MOST_MISTAKES,
    MOST_SETTINGS,
    BrokenFile,
    StunnelFile,
    parse,
)
from tlstunnel.convert.stunneloptions import OPTIONS
from tlstunnel.convert.writing import write


def nothing(folder: str) -> Iterable[tuple[str, bytes]]:
    """There is no folder to include."""
    raise FileNotFoundError(2, "No such file or directory", folder)


def read(content: str | bytes) -> StunnelFile:
    """A file that includes nothing."""
    return parse("t", content.encode() if isinstance(content, str) else content, nothing)


class GrammarTests(SynchronousTestCase):
    """
    What a file has in it.
    """

    def assertBroken(self, content: str | bytes, *wanted: str) -> None:
        """C{content} is refused with these mistakes."""
        error = self.assertRaises(BrokenFile, read, content)
        self.assertEqual(error.mistakes, wanted)

    def test_settingsBeforeAllSectionsAreGeneral(self) -> None:
        """The others belong to the section that they stand in."""
        file = read("debug = 5\n[a]\naccept=1\n[b c]\nconnect = 2\nconnect = 3\n")
        self.assertEqual([str(each) for each in file.general], ["debug = 5"])
        self.assertEqual([each.name for each in file.services], ["a", "b c"])
        last = [(str(each), each.place.line) for each in file.services[1].settings]
        self.assertEqual(last, [("connect = 2", 5), ("connect = 3", 6)])

    def test_commentsAndEmptyLinesAreIgnored(self) -> None:
        """With semicolons and with number signs, in whatever encoding."""
        self.assertEqual(read(b"; a\n\n  # b = c\n;\xff\n").general, ())

    def test_aCommentBehindAValueBelongsToIt(self) -> None:
        """As stunnel has it, which knows comments on lines of their own alone."""
        self.assertEqual(read("accept = 1 ; x").general[0].value, "1 ; x")

    def test_spacesCountForNothing(self) -> None:
        """Around names, values, sections and equals signs."""
        file = read("  a  =  b = c \n\t[ d ]\t\n")
        self.assertEqual((file.general[0].name, file.general[0].value), ("a", "b = c"))
        self.assertEqual(file.services[0].name, "d")

    def test_filesOfWindows(self) -> None:
        """They begin with a mark, and have lines with two ends."""
        file = read(b"\xef\xbb\xbfa = b\r\n[c]\r\n")
        self.assertEqual((str(file.general[0]), file.services[0].name), ("a = b", "c"))

    def test_aValueMayBeEmpty(self) -> None:
        """As that of pid."""
        self.assertEqual(read("pid =").general[0].value, "")

    def test_aLineWithoutEqualsSign(self) -> None:
        """It is not shown, as it may be anything."""
        self.assertBroken(
            "a = b\nsecret\n[c\n",
            "t:2: the line has no '='; write NAME = VALUE, or [SERVICE]",
            "t:3: the line has no '='; write NAME = VALUE, or [SERVICE]",
        )

    def test_aLineWithoutName(self) -> None:
        """There has to be something before the equals sign."""
        self.assertBroken("= b", "t:1: the line has no '='; write NAME = VALUE, or [SERVICE]")

    def test_anotherEncoding(self) -> None:
        """A path would be another one."""
        self.assertBroken(
            b"CAfile = /etc/\xe9.pem",
            "t:1: the line is not UTF-8; convert the file with iconv(1)",
        )

    def test_whatCannotBePrinted(self) -> None:
        """It would reach the terminal."""
        self.assertBroken(
            b"a = \x1b[2J", "t:1: the line has characters that cannot be printed; remove them"
        )

    def test_aLongLine(self) -> None:
        """Nothing of that length is a setting."""
        self.assertBroken(
            "a = " + "b" * LONGEST_LINE,
            f"t:1: the line has more than {LONGEST_LINE} bytes; break it up",
        )

    def test_aLargeFile(self) -> None:
        """Nor a configuration."""
        self.assertBroken(
            b"\n" * (LARGEST_FILE + 1), "t:1: the file is too large for a configuration"
        )

    def test_manySettings(self) -> None:
        """Sections count, too."""
        self.assertEqual(len(read("[a]\n" * MOST_SETTINGS).services), MOST_SETTINGS)
        self.assertBroken(
            "[a]\na = b\n" * (MOST_SETTINGS // 2) + "c = d\n",
            f"t:{MOST_SETTINGS + 1}: there are more than {MOST_SETTINGS} settings; set less",
        )

    def test_onlySomeMistakesAreTold(self) -> None:
        """Where nearly all is wrong, it is another kind of file."""
        error = self.assertRaises(BrokenFile, read, "x\n" * 100)
        self.assertEqual(len(error.mistakes), MOST_MISTAKES)


class IncludeTests(SynchronousTestCase):
    """
    Files that include others.
    """

    def test_theFilesTakeThePlaceOfTheLine(self) -> None:
        """Their settings come between those around it, and their sections go on."""
        files = [("d/1", b"a = 1\n[s]\n"), ("d/2", b"b = 2\n")]
        file = parse("t", b"before = 0\ninclude = d\nafter = 3\n", lambda folder: files)
        self.assertEqual([str(each) for each in file.general], ["before = 0", "a = 1"])
        settings = [f"{each.place}: {each}" for each in file.services[0].settings]
        self.assertEqual(settings, ["d/2:1: b = 2", "t:3: after = 3"])

    def test_aFolderThatIsNotThere(self) -> None:
        """The mistake is where it is named."""
        error = self.assertRaises(BrokenFile, read, "include = d")
        self.assertEqual(
            error.mistakes,
            ("t:1: 'd' cannot be read: No such file or directory; name a folder of files",),
        )

    def test_aFileInItThatCannotBeRead(self) -> None:
        """It is the one that is named."""

        def include(folder: str) -> Iterable[tuple[str, bytes]]:
            raise PermissionError(13, "Permission denied", f"{folder}/secret.conf")

        error = self.assertRaises(BrokenFile, parse, "t", b"include = d", include)
        self.assertEqual(
            error.mistakes,
            ("t:1: 'd/secret.conf' cannot be read: Permission denied; see who may read it",),
        )

    def test_aFileThatIncludesItself(self) -> None:
        """It comes to an end."""
        error = self.assertRaises(
            BrokenFile, parse, "t", b"include = d", lambda folder: [("d/1", b"include = d")]
        )
        self.assertEqual(
            error.mistakes,
            (f"d/1:1: include goes more than {DEEPEST} files deep; include less",),
        )

    def test_manyFiles(self) -> None:
        """There is a limit to them."""
        files = [(f"d/{number}", b"") for number in range(MOST_FILES + 1)]
        error = self.assertRaises(BrokenFile, parse, "t", b"include = d", lambda folder: files)
        self.assertEqual(
            error.mistakes, (f"t:1: there are more than {MOST_FILES} files; include fewer",)
        )


WORDS = {
    "accept connect": "443 ::1:2 /run/s [::1]:3 host.example:imaps 127.0.0.1:1 x: 0",
    "client delay verifyChain verifyPeer requireCert": "yes no Yes maybe",
    "checkHost checkIP checkEmail sni": "a.example *.example .example a@b.example ::1 x:y a..b",
    "cert key CAfile CApath": "mail.pem clients.pem cn.pem wild.pem pkcs11:x data /etc/ssl/certs",
    "sslVersion sslVersionMin sslVersionMax": "all SSLv3 TLSv1 TLSv1.2 TLSv1.3 2",
    "TIMEOUTbusy TIMEOUTclose TIMEOUTconnect TIMEOUTidle": "0 1 100 -1 1s 99999999999999",
    "protocol": "smtp pgsql imap connect socks proxy x",
    "verify": "0 1 2 3 4 5",
    "debug": "7 debug daemon.notice 4 9",
    "socket options": "a:SO_BINDTODEVICE=lo l:TCP_NODELAY=1 x NO_TLSv1_2 -NO_SSLv3",
    "setuid setgid failover": "root rr prio",
}
SETTINGS = st.one_of(
    [
        st.builds("{} = {}".format, st.sampled_from(names.split()), st.sampled_from(values.split()))
        for names, values in WORDS.items()
    ]
)
LINES = st.one_of(
    SETTINGS,
    st.sampled_from(["[a]", "[b]", "client = yes", "accept = 1", "connect = x.example:2"]),
    st.builds(
        "{} = {}".format,
        st.sampled_from([option.name for option in OPTIONS]),
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12),
    ),
)


class AnythingTests(SynchronousTestCase):
    """
    Whatever a file has in it.
    """

    @given(st.binary(max_size=300))
    def test_bytesAreReadOrRefused(self, content: bytes) -> None:
        """With a mistake, a line each."""
        try:
            read(content)
        except BrokenFile as error:
            self.assertTrue(error.mistakes)
            self.assertTrue(all(each.isprintable() for each in error.mistakes))

    @given(st.lists(LINES, max_size=25))
    def test_settingsAreConvertedOrRefused(self, lines: list[str]) -> None:
        """Nothing else comes of options that make no sense together; a file is always TOML."""
        lines = ["[a]", "accept = 127.0.0.1:1", "connect = host.example:2", *lines]
        try:
            conversion = convert(read("\n".join(lines)), DATA, "host.example")
        except BrokenFile as error:
            self.assertTrue(all(each.isprintable() for each in error.mistakes))
        else:
            self.assertEqual(
                len(described(write(conversion))), len(conversion.drafts), write(conversion)
            )
