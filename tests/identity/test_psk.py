"""
Tests for L{tlstunnel.identity.psk}, and for what C{tlstunnel identity} does with such keys.
"""

from __future__ import annotations

import contextlib
import io
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.commands.identity import IdentityOptions, main
from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.access import AccessList
from tlstunnel.identity.issuer import createIdentity
from tlstunnel.identity.names import Identity, Selector
from tlstunnel.identity.pool import Pool
from tlstunnel.identity.psk import (
    LONGEST_KEY,
    LONGEST_NAME,
    SHORTEST_KEY,
    PresharedKey,
    createPSK,
    inStunnelsForm,
    keepPSK,
    keyed,
    keysOf,
    loadPSK,
    readPSK,
    written,
)

DEVICE = Identity.parse("device7@example.org")
HEX = "00112233445566778899aabbccddeeff"
KEY = bytes.fromhex(HEX)


class FormTests(SynchronousTestCase):
    """
    What files have in them.
    """

    def test_theKeyAloneIsThatOfItsIdentity(self) -> None:
        """
        Called as that is; white space at the end is none.
        """
        for content in f"{HEX}\n", f"{HEX.upper()}\r\n", HEX:
            found = readPSK(DEVICE, content.encode())
            self.assertEqual((found.name, found.key), (b"device7@example.org", KEY))

    def test_anotherNameStandsBeforeTheColon(self) -> None:
        """
        As text or in digits; the last colon counts.
        """
        for name, written_ in (
            (b"Client1", "Client1"),
            (b"a:b", "a:b"),
            (b"\xff", "#ff"),
            (b"Device #3", "Device #3"),
        ):
            found = readPSK(DEVICE, f"{written_}:{HEX}\n".encode())
            self.assertEqual(found.name, name)
            self.assertEqual(written(found), f"{written_}:{HEX}\n".encode())

    @given(
        st.binary(min_size=1, max_size=LONGEST_NAME).filter(
            lambda name: not any(byte < 0x20 or byte == 0x7F for byte in name)
        ),
        st.binary(min_size=SHORTEST_KEY, max_size=LONGEST_KEY),
    )
    def test_whatIsWrittenIsRead(self, name: bytes, key: bytes) -> None:
        """
        Whatever that is.
        """
        one = PresharedKey(DEVICE, name, key)
        self.assertEqual(readPSK(DEVICE, written(one)), one)

    @given(st.binary(max_size=200))
    def test_whatIsBrokenIsSaid(self, content: bytes) -> None:
        """
        In a sentence, and never in another way.
        """
        with contextlib.suppress(ValueError):
            readPSK(DEVICE, content)
        with contextlib.suppress(ConfigurationError):
            inStunnelsForm(content, "file")

    def test_mistakes(self) -> None:
        """
        Each with what is wrong.
        """
        for content, problem in (
            ("", "no key in hexadecimal"),
            ("xyz", "no key in hexadecimal"),
            (HEX[:-1], "no key in hexadecimal"),
            (f"{HEX}\n{HEX}", "no key in hexadecimal"),
            (f"a:{HEX}\nb:{HEX}", "no key in hexadecimal"),
            (f"a:{HEX}\r{HEX}:{HEX}", "control characters"),
            (f"{HEX}:device7@example.org", "no key in hexadecimal"),
            (HEX[:-2], "has 15 bytes, and can be found out"),
            ("00" * (LONGEST_KEY + 1), "513 bytes, and is too long"),
            (f":{HEX}", "is empty"),
            (f"a\tb:{HEX}", "control characters"),
            (f"#00:{HEX}", "control characters"),
            (f"{'a' * (LONGEST_NAME + 1)}:{HEX}", "has 256 bytes"),
        ):
            with self.subTest(content[:40]):
                error = self.assertRaises(ValueError, readPSK, DEVICE, content.encode())
                self.assertIn(problem, str(error))
                self.assertNotIn(HEX[:8], str(error))

    def test_aKeyIsNotShown(self) -> None:
        """
        Neither in tracebacks nor in logs.
        """
        self.assertNotIn("\\x11", repr(PresharedKey(DEVICE, b"n", KEY)))

    def test_stunnelsForm(self) -> None:
        """
        With comments of mosquitto, names of GnuTLS in digits, and keys of stunnel that are text.
        """
        content = (
            f"\xef\xbb\xbf# keys\n\nClient1:{HEX}\r\n  b.example:{HEX}  \n"
            f"u@c.example:a long: pass phrase\n#{b'd.example'.hex()}:{HEX}\n"
        ).encode("latin-1")
        found = inStunnelsForm(content, "file")
        self.assertEqual(
            [(str(each.identity), each.name, each.key) for each in found],
            [
                ("client1", b"Client1", KEY),
                ("b.example", b"b.example", KEY),
                ("u@c.example", b"u@c.example", b"a long: pass phrase"),
                ("d.example", b"d.example", KEY),
            ],
        )

    def test_mistakesInStunnelsForm(self) -> None:
        """
        With the line.
        """
        for content, problem in (
            (f"a:{HEX}\nb\n", "line 2: has no colon"),
            (f"a:{HEX}\na:{HEX}\n", 'line 2: has "a" once more'),
            ("a:0011\n", "line 1: the key has 2 bytes"),
            ("a:secret\n", "line 1: the key has 6 bytes"),
            (f"My device:{HEX}\n", "no name for an identity"),
            (f"{HEX}:device7@example.org\n", "line 1: has the key before the colon"),
            (f"{HEX}{HEX}:device7@example.org\n", "line 1: has the key before the colon"),
            (f"a:{HEX}\n{HEX}\t:{HEX}\n", "line 2: the name of the identity has control"),
            ("# nothing\n", "has no keys"),
        ):
            error = self.assertRaises(ConfigurationError, inStunnelsForm, content.encode(), "file")
            self.assertIn(problem, str(error))
            self.assertNotIn(HEX[:8], str(error))


class PoolTests(SynchronousTestCase):
    """
    Keys in a pool.
    """

    def setUp(self) -> None:
        """
        An empty one.
        """
        self.pool = Pool(Path(self.mktemp()))

    def test_aDirectoryThatIsCalledOtherwiseIsNobodys(self) -> None:
        """
        One that differs by case, or by a dot at its end, keeps nobody else from being let in.
        """
        createPSK(self.pool, DEVICE)
        for name in "device7@Example.Org", "device7@example.org.", "device8@EXAMPLE.org":
            directory = self.pool.path / name
            directory.mkdir()
            (directory / "psk").write_text(f"{HEX}\n")
        (found,) = keysOf(self.pool, Selector.parse("@."))
        self.assertEqual(found, loadPSK(self.pool, DEVICE))

    def test_aKeyIsMade(self) -> None:
        """
        For nobody else to read; another one each time, and not by mistake.
        """
        file = Path(createPSK(self.pool, DEVICE))
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        first = loadPSK(self.pool, DEVICE)
        self.assertEqual(len(first.key), 32)
        error = self.assertRaises(ConfigurationError, createPSK, self.pool, DEVICE)
        self.assertIn("--force", str(error))
        createPSK(self.pool, DEVICE, replace=True)
        self.assertNotEqual(loadPSK(self.pool, DEVICE).key, first.key)

    def test_aFileThatOthersCanReadIsNone(self) -> None:
        """
        As with all keys.
        """
        file = Path(createPSK(self.pool, DEVICE))
        file.chmod(0o644)
        error = self.assertRaises(ConfigurationError, loadPSK, self.pool, DEVICE)
        self.assertIn("chmod 600", str(error))

    def test_whoseKeysCount(self) -> None:
        """
        Those of all whom a selector matches and no other denies.
        """
        names = "a@x.example", "b@x.example", "x.example", "y.example"
        for each in names:
            createPSK(self.pool, Identity.parse(each))
        createIdentity(self.pool, Identity.parse("z.example"))
        self.assertEqual([str(each) for each in keyed(self.pool)], list(names))
        for expected, found in (
            (Selector.parse("@."), names[:2]),
            (Selector.parse("."), names[2:]),
            (Identity.parse("x.example"), names[2:3]),
            (
                AccessList((Selector.parse("@."), Selector.parse(".")), (Selector.parse("@."),)),
                names[2:],
            ),
            (AccessList(()), ()),
        ):
            self.assertEqual(
                [str(each.identity) for each in keysOf(self.pool, expected)], list(found)
            )

    def test_twoOfOneNameAreAMistake(self) -> None:
        """
        Nobody could say who comes.
        """
        for each in "a@x.example", "b@x.example":
            keepPSK(self.pool, PresharedKey(Identity.parse(each), b"same", KEY))
        error = self.assertRaises(ConfigurationError, list, keysOf(self.pool, Selector.parse("@.")))
        self.assertIn('"same"', str(error))

    def test_aBrokenOneIsAMistake(self) -> None:
        """
        With its file.
        """
        file = Path(createPSK(self.pool, DEVICE))
        file.write_text("broken")
        error = self.assertRaises(ConfigurationError, loadPSK, self.pool, DEVICE)
        self.assertIn(str(file), str(error))


class CommandTests(SynchronousTestCase):
    """
    C{tlstunnel identity}.
    """

    def setUp(self) -> None:
        """
        A pool that is not there yet.
        """
        self.pool = Path(self.mktemp())
        self.file = Path(self.mktemp())

    def identity(self, *words: str) -> tuple[int, str, str]:
        """
        Run it.
        """
        options = IdentityOptions()
        options.parseOptions([words[0], "--pool", str(self.pool), *words[1:]])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(options)
        return code, out.getvalue(), err.getvalue()

    def test_createListAndCheck(self) -> None:
        """
        A key, and a certificate beside it.
        """
        code, said, _ = self.identity("create", "--psk", str(DEVICE))
        self.assertEqual(code, 0)
        self.assertIn(f"{DEVICE}/psk", said)
        self.assertNotIn(loadPSK(Pool(self.pool), DEVICE).key.hex(), said)
        self.assertRegex(self.identity("list")[1], f"{DEVICE} +psk +a key of 256 bits")
        code, said, _ = self.identity("check", str(DEVICE))
        self.assertEqual((code, said), (0, f"{DEVICE}: all is well with its pre-shared key\n"))
        self.assertEqual(self.identity("create", str(DEVICE))[0], 0)
        self.assertRegex(self.identity("list")[1], "(?s)user.*psk")
        self.assertIn("all is well until", self.identity("check", str(DEVICE))[1])

    def test_checkFindsWhatIsWrong(self) -> None:
        """
        With the key of somebody's imagination, and with none.
        """
        for digits, problem in (
            (b"a long pass phrase".hex(), "made it up"),
            ("00" * 32, "made it up"),
            ("xx", "no key in hexadecimal"),
        ):
            self.identity("create", "--psk", "--force", str(DEVICE))
            (self.pool / str(DEVICE) / "psk").write_text(digits)
            code, said, _ = self.identity("check", str(DEVICE))
            self.assertEqual(code, 1)
            self.assertIn(problem, said)
        self.assertIn("unreadable", self.identity("list")[1])

    def test_import(self) -> None:
        """
        All of a file, or none; or one under another name.
        """
        self.file.write_text(f"Client1:{HEX}\nb.example:{HEX}\n")
        self.assertEqual(self.identity("import", "--psk", str(self.file))[0], 0)
        found = loadPSK(Pool(self.pool), Identity.parse("client1"))
        self.assertEqual((found.name, found.key), (b"Client1", KEY))
        self.file.write_text(f"c.example:{HEX}\nb.example:{HEX}\n")
        self.assertIn("--force", self.identity("import", "--psk", str(self.file))[2])
        self.assertFalse((self.pool / "c.example").exists())
        self.file.write_text(f"A:{HEX}\na:{HEX}\n")
        self.assertIn("case alone", self.identity("import", "--psk", str(self.file))[2])
        self.assertIn("has 2 keys", self.identity("import", "d", "--psk", str(self.file))[2])
        self.file.write_text(f"My device:{HEX}\n")
        self.assertEqual(self.identity("import", "d", "--psk", str(self.file))[0], 0)
        self.assertEqual(loadPSK(Pool(self.pool), Identity.parse("d")).name, b"My device")

    def test_usage(self) -> None:
        """
        One of both, and an identity for certificates.
        """
        for words in (
            ["import"],
            ["import", "a"],
            ["import", "--cert", "x"],
            ["import", "a", "--psk", "x", "--cert", "y"],
            ["import", "a", "b", "--psk", "x"],
        ):
            self.assertRaises(usage.UsageError, IdentityOptions().parseOptions, words)
