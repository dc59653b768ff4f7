"""
Tests for L{tlstunnel.program.show} and C{tlstunnel --config FILE --show}: what is in force, and
where it comes from.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.program.configurations import TUNNEL, ConfigurationTests
from tests.program.processes import TOP, WAIT_SECONDS
from tlstunnel.address import TCPAddress
from tlstunnel.program.configfile import dotted
from tlstunnel.program.configuration import readConfiguration
from tlstunnel.program.keys import TUNNEL_KEYS
from tlstunnel.program.show import show, toml
from tlstunnel.program.values import Number
from tlstunnel.tunnel.description import Mode


class ShowTests(ConfigurationTests):
    """
    L{show}.
    """

    def test_everyValueHasItsPlace(self) -> None:
        """
        A file, the table of defaults, the program, or the command line.
        """
        self.write(TUNNEL + "pool = 'pool'", "conf.d/mail.toml")
        self.write(
            "include = ['conf.d/*']\n[process]\nlog-json = true\nworkers = 1\n"
            "[status]\nlocal = '127.0.0.1:1'\n[defaults]\nquiet = true\n"
        )
        lines = show(readConfiguration(self.path, {"workers": 1})).splitlines()
        for line in (
            f"# what is in force by {self.path}",
            "[process]  # tlstunnel.toml:2",
            "workers = 1  # command line",
            "log-json = true  # tlstunnel.toml:3",
            "drain-timeout = 3600  # default",
            "reload-on-change = true  # default",
            "[status]  # tlstunnel.toml:5",
            'local = "127.0.0.1:1"  # tlstunnel.toml:6',
            "public = false  # default",
            "[tunnel.pg]  # conf.d/mail.toml:2",
            'mode = "client"  # conf.d/mail.toml:3',
            'local = ["127.0.0.1:5432"]  # conf.d/mail.toml:4',
            f'pool = "{self.folder}/conf.d/pool"  # conf.d/mail.toml:7',
            "quiet = true  # defaults, tlstunnel.toml:8",
            "connect-timeout = 10  # default",
            'minimum-tls = "1.2"  # default',
        ):
            self.assertIn(line, lines)

    def test_DANE(self) -> None:
        """
        The word is no path, and the resolver is shown as it was given.
        """
        text = show(self.read(f"{TUNNEL}trust = ['dane', 'a.pem']\ndane-resolver = '::1'\n"))
        self.assertIn(f'trust = ["dane", "{self.folder}/a.pem"]', text)
        self.assertIn('dane-resolver = "::1"  # ', text)
        (tunnel,) = self.read(text).tunnels
        self.assertEqual(tunnel.daneResolver, TCPAddress("::1", 53))
        self.assertEqual(tunnel.trust, ("dane", f"{self.folder}/a.pem"))

    def test_everyKeyThatMeansSomethingIsThere(self) -> None:
        """
        Where it has no value, by its name; the pool is in a comment, as it need not be there.
        """
        text = show(self.read(TUNNEL))
        self.assertIn("[status]  # default\n", text)
        self.assertIn("# not given: socket-mode, socket-owner, socket-group,", text)
        self.assertRegex(text, '(?m)^# pool = "/.*"  # default$')
        for option in TUNNEL_KEYS:
            isThere = re.search(rf"(?m)^(# )?{option.name} = |[:,] {option.name}(,|$)", text)
            self.assertEqual(bool(isThere), option.means(Mode.CLIENT), option.name)

    def test_theCommandShows(self) -> None:
        """
        To standard output; mistakes to standard error, as the output may become a file.
        """
        self.write(TUNNEL)
        words = [sys.executable, "-m", "tlstunnel", "--config", str(self.path), "--show"]
        settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": WAIT_SECONDS}
        settings["env"] = {"PYTHONPATH": str(TOP), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*words, "--verbose"], check=False, **settings)
        self.assertEqual(
            done.stdout, show(readConfiguration(self.path, {"verbose": True})), done.stderr
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.write("")
        done = subprocess.run(words, check=False, **settings)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("has no tunnel", done.stderr)


def _values(name: str) -> st.SearchStrategy[object]:
    """
    Values that a key can have.
    """
    option = next(each for each in TUNNEL_KEYS if each.name == name)
    if not option.argument:
        return st.booleans()
    if isinstance(option.parse, Number):
        numbers = st.integers(1, min(30000, int(option.parse.most)))
        return numbers | numbers.map(str)
    return st.sampled_from(_CHOICES[name])


#: Texts that make no path, and paths that need care.
_TEXTS = ("a b", "..", 'x"y\\z', "\t\n#", "é", "/a")

_CHOICES: dict[str, tuple[object, ...]] = {
    "pool": _TEXTS,
    "trust": ("system", ["system", *_TEXTS], []),
    "pin": ([], ["sha256//" + "A" * 43 + "="]),
    "alpn": ("h2", "h2,http/1.1", 'a"b'),
    "minimum-tls": (1.2, "1.3"),
    "resumption": ("on", "off"),
    "allow": ("192.0.2.0/24", ["::/0", "192.0.2.1", "::ffff:192.0.2.1"], []),
    "deny": ("2001:db8::/32", ["2001:db8::1", "0.0.0.0/0"]),
    "socket-mode": ("0600", "666"),
    "socket-owner": ("root", "0"),
    "socket-group": ("root", 'w"x'),
    "local-id": ("a.example", "u@a.example", "192.0.2.1"),
    "starttls": ("smtp", "IMAP4", "none", "ftp"),
    "dialect-option": ([], ["active"], ["ports=50000-50009", "active"]),
}

_KEYS = [
    each.name
    for each in TUNNEL_KEYS
    if each.mode is None and (each.name in _CHOICES or not each.argument or each.limit)
    # Most others mean nothing beside these, and are refused.
    if not (each.name.startswith("chat") or each.name == "negotiate-only")
]

_TABLES = st.fixed_dictionaries({}, optional={name: _values(name) for name in _KEYS})
_PROCESS = st.fixed_dictionaries(
    {},
    optional={
        "workers": st.sampled_from((1, "1", "auto")),
        "drain-timeout": st.floats(0, 1e6),
        "reload-on-change": st.booleans(),
        "verbose": st.booleans(),
    },
)
_NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


class PropertyTests(ConfigurationTests):
    """
    What is shown is a file that means the same.
    """

    @given(
        _PROCESS,
        st.booleans(),
        _TABLES,
        st.dictionaries(
            _NAMES, st.tuples(st.sampled_from(("server", "client")), _TABLES), min_size=1
        ),
    )
    def test_whatIsShownReadsBack(
        self,
        process: dict[str, Any],
        isPublic: bool,
        defaults: dict[str, Any],
        tunnels: dict[str, Any],
    ) -> None:
        """
        Whatever is in it; and it shows the same, too.
        """
        tables: list[tuple[str, dict[str, Any]]] = [
            ("process", process),
            ("status", {"local": [":9290", "unix:st"] if isPublic else [], "public": isPublic}),
            ("defaults", {"dialect-option": ["allow-truncated-uploads"], **defaults}),
        ]
        for number, (name, (mode, table)) in enumerate(tunnels.items()):
            own = {
                "mode": mode,
                "local": [f"127.0.0.1:{10000 + number}", f"unix:socket-{number}"],
                "local-id": "a.example",
                "remote": ["unix:there"],
                "remote-id": ["b.example"],
                "starttls": "ftp",
            }
            tables.append((dotted(("tunnel", name)), own | table))
            if tables[-1][1]["starttls"] != "ftp":
                tables[-1][1].pop("dialect-option", None)
        text = ""
        for name, table in tables:
            pairs = (f"{key} = {toml(value)}" for key, value in table.items())
            text += "\n".join((f"[{name}]", *pairs, ""))
        before = self.read(text)
        shown = show(before)
        after = readConfiguration(self.write(shown, "shown.toml"))
        self.assertEqual(after, before)
        again = show(readConfiguration(self.write(shown, "again.toml")))
        self.assertEqual(
            [line.partition("  #")[0] for line in again.splitlines()[1:] if line[:1] != "#"],
            [line.partition("  #")[0] for line in shown.splitlines()[1:] if line[:1] != "#"],
        )
