"""
Tests for L{tlstunnel.convert.ghostunnel} and L{tlstunnel.convert.ghostwords}.
"""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.convert.examples import DATA, HOST, described
from tlstunnel.convert import ghostunnel
from tlstunnel.convert.draft import Conversion
from tlstunnel.convert.ghostwords import FLAGS, BadWords, parse, seconds
from tlstunnel.convert.writing import write

SERVER = "server --listen :1 --target localhost:2 --keystore mail.pem --cacert ca.pem"
CLIENT = "client --listen :1 --target a.example.org:2 --disable-authentication"


def converted(line: str) -> Conversion:
    """What becomes of a command line."""
    return ghostunnel.convert(shlex.split(line), DATA, HOST)


class WordsTests(SynchronousTestCase):
    """
    The grammar.
    """

    def assertBad(self, line: str, wanted: str) -> None:
        """C{line} is refused so."""
        error = self.assertRaises(BadWords, converted, line)
        self.assertIn(wanted, str(error))

    def test_valuesBehindASpaceOrAnEqualsSign(self) -> None:
        """And the command before, between or behind the flags."""
        for line in "server --listen a --target=b", "--listen=a server --target b":
            words = parse(line.split())
            self.assertEqual((words.last("listen"), words.last("target")), ("a", "b"))

    def test_switchesThatAreOff(self) -> None:
        """They are as if they were not there."""
        self.assertFalse(parse(["server", "--no-allow-all"]).has("allow-all"))

    def test_olderNames(self) -> None:
        """They mean the same."""
        words = parse(["server", "--allow-dns-san", "a"])
        self.assertEqual(words.all("allow-dns"), ["a"])

    def test_mistakes(self) -> None:
        """Each says what to do."""
        self.assertBad("", "exactly one of 'server' and 'client'")
        self.assertBad("server client", "exactly one")
        self.assertBad("server --lisen a", "did you mean --listen?")
        self.assertBad("server --listen", "--listen has no value")
        self.assertBad("server --allow-all=yes", "takes no value")
        self.assertBad("server extra", "'extra' is no flag")
        self.assertBad("server --target a:1", "--listen is missing")
        self.assertBad("client --listen x --target a:1", "'x' has no port")
        self.assertBad("client --listen :1 --target x:0", "names no place")
        self.assertBad(SERVER, "insists on one of --allow-all")
        self.assertBad(f"{SERVER} --allow-all --allow-cn a", "insists on one of --allow-all")
        self.assertBad("client --listen :1 --target a:2", "KEYSTORE_PATH")
        self.assertBad(f"{CLIENT} --close-timeout 10", "'10' is no duration")
        self.assertBad(f"{CLIENT} --max-concurrent-conns many", "'many' is no number")
        self.assertBad(f"{CLIENT} --status x", "--status: 'x' has no port")
        self.assertBad(f"{CLIENT} --cacert \udcff", "the words are not UTF-8")
        self.assertBad(f"{CLIENT} --listen :3", "--listen is there twice")
        self.assertBad(f"{SERVER} --allow-all --cert c --key k", "either --keystore, or --cert")
        self.assertBad("client --listen :1 --target a:2 --cert c", "--cert together with --key")

    def test_flagsOfTheOtherCommand(self) -> None:
        """They would count for nothing, so that ghostunnel refuses them."""
        self.assertBad(f"{CLIENT} --allow-cn a", "a flag of 'ghostunnel server' alone")
        for flag in "verify-dns a", "proxy socks5://p:1", "override-server-name a":
            self.assertBad(f"{SERVER} --allow-all --{flag}", "a flag of 'ghostunnel client' alone")
        self.assertTrue(converted(f"{CLIENT} --allow-unsafe-cipher-suites").drafts)

    def test_theHeaderOfPROXY(self) -> None:
        """What is in it is chosen by a mode; that implies that there is one."""
        for words, tlvs in (
            ("--proxy-protocol", None),
            ("--proxy-protocol-mode conn", None),
            ("--proxy-protocol --proxy-protocol-mode tls", ["alpn", "authority", "ssl-version"]),
            (
                "--proxy-protocol-mode tls-full",
                ["alpn", "authority", "ssl-version", "ssl-cn", "ssl-client-cert"],
            ),
        ):
            (draft,) = converted(f"{SERVER} --allow-all {words}").drafts
            self.assertEqual(draft.values["proxy-out"], "v2")
            self.assertEqual(draft.values.get("proxy-tlv"), tlvs)
        self.assertBad(f"{SERVER} --allow-all --proxy-protocol-mode v1", "give conn, tls or")
        self.assertBad(f"{CLIENT} --proxy-protocol", "a flag of 'ghostunnel server' alone")

    def test_durations(self) -> None:
        """As Go writes them."""
        for text, wanted in {"1h30m": 5400, "1.5s": 1.5, "300ms": 0.3, "0": 0, "0s": 0}.items():
            self.assertAlmostEqual(seconds("x", text), wanted)
        for text in "", "s", "-1s", "1s ", "1x", "1e3s", "99999999999h":
            self.assertRaises(BadWords, seconds, "x", text)

    @given(
        st.lists(
            st.one_of(
                st.sampled_from([f"--{flag.name}" for flag in FLAGS]),
                st.sampled_from(["server", "client", "a:1", "/s", "10s", "mail.pem", "a.example"]),
                st.text(max_size=5),
            ),
            max_size=12,
        ),
        st.sampled_from([SERVER, CLIENT, ""]),
    )
    def test_wordsAreConvertedOrRefused(self, words: list[str], before: str) -> None:
        """Nothing else becomes of them, and a tunnel can be made of what is written."""
        try:
            conversion = ghostunnel.convert([*before.split(), *words], DATA, HOST)
        except BadWords:
            return
        self.assertEqual(len(described(write(conversion))), len(conversion.drafts))


class ConversionTests(SynchronousTestCase):
    """
    Who is let in, and who is expected.
    """

    def test_anyOfTheNamesIsLetIn(self) -> None:
        """Those that prove nothing are not, with a warning."""
        conversion = converted(f"{SERVER} --allow-dns a.example --allow-cn b")
        self.assertEqual(conversion.drafts[0].values["remote-id"], ["a.example"])
        self.assertEqual(len(conversion.warnings), 1)

    def test_everybodyWithAName(self) -> None:
        """It is said that a common name is none."""
        (draft,) = converted(f"{SERVER} --allow-all").drafts
        self.assertEqual(draft.values["remote-id"], [".", "@."])
        self.assertIn("a common name alone does not count", "".join(draft.notes))

    def test_nobodyIsLetInByACommonName(self) -> None:
        """Where there is no other name, there is no tunnel."""
        self.assertEqual(converted(f"{SERVER} --allow-cn b").drafts, [])

    def test_aPatternIsNoName(self) -> None:
        """As a selector it would match more."""
        self.assertEqual(converted(f"{SERVER} --allow-dns *.example").drafts, [])

    def test_theServerHasToHaveTheNameOfTheTarget(self) -> None:
        """Which ghostunnel verifies, too; by the system's store unless there is another."""
        (draft,) = converted(CLIENT).drafts
        self.assertEqual(draft.values["trust"], ["system"])
        self.assertNotIn("remote-id", draft.values)

    def test_anotherName(self) -> None:
        """The one that overrides it."""
        (draft,) = converted(f"{CLIENT} --override-server-name b.example").drafts
        self.assertEqual(draft.values["remote-id"], ["b.example"])

    def test_aFurtherNameCannotBeVerified(self) -> None:
        """Unless it is the same."""
        self.assertEqual(converted(f"{CLIENT} --verify-dns b.example").drafts, [])
        self.assertEqual(converted(f"{CLIENT} --verify-cn a.example.org").drafts, [])
        self.assertEqual(len(converted(f"{CLIENT} --verify-dns A.example.org").drafts), 1)

    def test_theStatusPageIsForThisHostAlone(self) -> None:
        """Others are not let in without a word."""
        self.assertEqual(
            converted(f"{CLIENT} --status http://127.0.0.1:9").status["local"], "127.0.0.1:9"
        )
        conversion = converted(f"{CLIENT} --status unix:/run/s")
        self.assertEqual(conversion.status["local"], "/run/s")
        self.assertNotIn("http:", "".join(conversion.notes))
        conversion = converted(f"{CLIENT} --status 0.0.0.0:9")
        self.assertEqual(conversion.status, {})
        self.assertIn("other hosts could read it", "".join(conversion.notes))

    def test_pinnedKeys(self) -> None:
        """They decide alone, as they did."""
        digest = "A" * 43 + "="
        pin = f"spki-pin sha256:{digest}"
        for line in f"{SERVER} --allow-{pin}", f"{CLIENT} --verify-{pin}":
            conversion = converted(line)
            (draft,) = conversion.drafts
            self.assertEqual(draft.values["pin"], [f"sha256//{digest}"])
            self.assertEqual(draft.values["trust"], ["pins"])
            self.assertNotIn("remote-id", draft.values)
            self.assertEqual(len(described(write(conversion))), 1)
        for other in "sha384:YWJj", "sha256:YWJj", "abc":
            self.assertEqual(converted(f"{SERVER} --allow-spki-pin {other}").drafts, [])
        self.assertRaises(BadWords, converted, f"{SERVER} --allow-{pin} --allow-all")

    def test_workloads(self) -> None:
        """By their IDs, or all below a path; never more than there were."""
        given = {
            "spiffe://a.example/x": ["spiffe://a.example/x"],
            "spiffe://a.example/x/": ["spiffe://a.example/x"],
            "spiffe://a.example/ns/**": ["spiffe://a.example/ns/"],
            "spiffe://a.example/**": ["spiffe://a.example/"],
            "spiffe://a.example/*": [],
            "spiffe://a.example/*/b": [],
            "spiffe://a.example": [],
            "https://a.example/x": [],
            "a.example": [],
        }
        for uri, wanted in given.items():
            conversion = converted(f"{SERVER} --allow-dns b.example --allow-uri {uri}")
            (draft,) = conversion.drafts
            self.assertEqual(draft.values["remote-id"], ["b.example", *wanted])
            self.assertEqual(len(conversion.warnings), 0 if wanted else 1)

    def test_aTargetThatIsNotLookedUp(self) -> None:
        """As with the option of the same name."""
        (draft,) = converted(f"{CLIENT} --skip-resolve").drafts
        self.assertEqual(draft.values["skip-resolve"], True)

    def test_noTimeToClose(self) -> None:
        """There is no such limit, which is said."""
        (draft,) = converted(f"{CLIENT} --close-timeout 0s").drafts
        self.assertNotIn("close-timeout", draft.values)
        self.assertIn("--close-timeout 0s: the default counts", draft.notes)

    def test_secretsAreNotWritten(self) -> None:
        """Neither passwords of files nor those of proxies."""
        line = f"{SERVER} --allow-all --storepass hidden --pkcs11-pin hidden --pkcs11-module /m"
        self.assertNotIn("hidden", write(converted(line)))
        for proxy in (
            *("http://u:hidden@p:1", "socks5://u:hidden@p:1", "https://u:hidden@p:1"),
            *("u:hidden@p:1", "http://u:hidden@p", "http://u:hid@hidden@p:1/hidden@"),
        ):
            self.assertNotIn("hidden", write(converted(f"{CLIENT} --proxy {proxy}")), proxy)
