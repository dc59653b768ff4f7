"""
What the documentation says is so: its links lead somewhere, its commands are understood, and the
manual page has every option, limit and reason.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tlstunnel import errors, tap
from tlstunnel.agent import admission
from tlstunnel.agent import service as agent
from tlstunnel.commands import COMMANDS
from tlstunnel.commands.identity import IdentityOptions
from tlstunnel.commands.pool import PoolCommandOptions
from tlstunnel.commands.probe import ProbeOptions
from tlstunnel.commands.run import PIN_REFUSED, RunOptions
from tlstunnel.errors import TunnelError
from tlstunnel.identity import expiry
from tlstunnel.identity.token import RSA_BITS
from tlstunnel.program.agentsettings import AGENT_OPTIONS, LEAST_SECONDS, MOST_SECONDS
from tlstunnel.program.configuration import readConfiguration
from tlstunnel.program.following import REST_SECONDS
from tlstunnel.program.keys import INCLUDE, PROCESS_KEYS, STATUS_KEYS, TUNNEL_KEYS
from tlstunnel.program.options import OPTIONS
from tlstunnel.program.poolsettings import POOL_SERVICE_KEYS, POOL_SERVICE_OPTIONS
from tlstunnel.program.pullsettings import POOL_PULL_KEYS
from tlstunnel.protocols import base, registry
from tlstunnel.protocols.base import ClientRole
from tlstunnel.provisioning.content import MAX_BYTES, MAX_ENTRIES
from tlstunnel.provisioning.messages import MAX_VALUES

CHECKOUT = Path(__file__).parent.parent
MANUAL = CHECKOUT / "docs" / "tlstunnel.8"
KEYS = CHECKOUT / "docs" / "tlstunnel.toml.5"
PAGES = [
    *sorted(CHECKOUT.glob("*.md")),
    *sorted(path for path in CHECKOUT.glob("docs/**/*.md") if "_build" not in path.parts),
]

# A default beside its option: 60 s (`--x`), (60 s in all, `--x`), | `--x` | 60 s, `--x` (60).
_NUMBER, _NAME = r"(?P<number>[0-9][0-9,]*)", r"`--(?P<name>[a-z-]+)`"
_DEFAULTS = (
    rf"{_NUMBER} s(?: at most)? \({_NAME}",
    rf"\({_NUMBER} s[^()`]*, {_NAME}\)",
    rf"\| {_NAME} \| {_NUMBER} s",
    rf"{_NAME}(?:\*\*)? \({_NUMBER}\)",
)

_FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")


def blocks(page: Path, language: str) -> list[str]:
    """
    The code blocks of a page that are in C{language}.
    """
    return [text for tag, text in _FENCE.findall(page.read_text()) if tag == language]


def commands() -> Iterator[tuple[str, list[str]]]:
    """
    Every command that a page tells its readers to type, with the name of the page.
    """
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                yield page.name, shlex.split(line, comments=True)


class ReadmeTests(SynchronousTestCase):
    """
    The first thing that anybody reads.
    """

    def test_opensWithTheTwoCommands(self) -> None:
        """
        Behind the title, before anything else, there is how to see it and how to test it.
        """
        opening = "# tlstunnel\n\n```sh\nmake demo\nmake test\n```\n"
        self.assertTrue((CHECKOUT / "README.md").read_text().startswith(opening))


class PagesTests(SynchronousTestCase):
    """
    All pages, wherever they are.
    """

    def test_linksLeadSomewhere(self) -> None:
        """
        Each relative link is to a file of the repository.
        """
        broken = []
        for page in PAGES:
            text = _FENCE.sub("", page.read_text())
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                path = target.partition("#")[0]
                if "://" not in target and path and not (page.parent / path).exists():
                    broken.append(f"{page.name}: {target}")
        self.assertEqual(broken, [])

    def test_everyPageIsListedOnce(self) -> None:
        """
        Under one heading of the built pages, where the manual is too.
        """
        docs = CHECKOUT / "docs"
        trees = re.findall(r"(?ms)^```{toctree}\n(.*?)^```$", (docs / "index.md").read_text())
        listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
        pages = [page.relative_to(docs).with_suffix("") for page in PAGES if docs in page.parents]
        self.assertEqual(sorted([*listed, "index"]), sorted(map(str, pages)))

    def test_everyProtocolIsOnTheFirstPage(self) -> None:
        """
        With a link to the page that has examples of it.
        """
        rows = re.findall(r"(?m)^\|.*\| (`.*`) \| \[", (CHECKOUT / "docs/index.md").read_text())
        listed = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
        self.assertEqual(listed, set(registry.BUILT_IN) - {"none"})

    def test_makeTargetsExist(self) -> None:
        """
        What readers are told to make can be made.
        """
        targets = set(re.findall(r"(?m)^([a-z]+):", (CHECKOUT / "Makefile").read_text()))
        named = [(words[1], page) for page, words in commands() if words[:1] == ["make"]]
        self.assertGreater(len(named), 5)
        for target, page in named:
            self.assertIn(target, targets, page)

    def understands(self, options: usage.Options, arguments: list[str], page: str) -> None:
        """
        Assert that C{options} can be given like this.
        """
        try:
            options.parseOptions(arguments)
        except usage.UsageError as error:
            self.fail(f"{page}: {' '.join(arguments)}: {error}")

    def test_optionsExist(self) -> None:
        """
        Every command line of a tunnel that a page shows is a correct one.
        """
        shown = 0
        for page, words in commands():
            if words[:1] not in (["tlstunnel"], ["twistd"]):
                continue
            # twistd's own options can have the name of our user in them.
            arguments = " ".join(words).rpartition("tlstunnel ")[2].split()
            if arguments[0] in {*COMMANDS, "--version", "--list-protocols"}:
                continue
            self.understands(
                RunOptions() if words[0] == "tlstunnel" else tap.Options(), arguments, page
            )
            shown += 1
        self.assertGreater(shown, 5)

    def test_limitsAreThoseOfTheTable(self) -> None:
        """
        Where a page has a number beside an option, that is its default: with a unit in parentheses,
        in a row of a table, or behind the option.
        """
        defaults = {option.name: option.shownDefault for option in OPTIONS}
        shown = []
        for page in PAGES:
            text = " ".join(page.read_text().split())
            for pattern in _DEFAULTS:
                for found in re.finditer(pattern, text):
                    number, name = found["number"].replace(",", ""), found["name"]
                    self.assertEqual(number, defaults[name], f"{page.name}: --{name}")
                    shown.append(page.name)
        for name, least in (
            ("deployment.md", 3),
            ("ftp.md", 2),
            ("performance.md", 1),
            ("writing-a-dialect.md", 3),
        ):
            self.assertGreaterEqual(shown.count(name), least, name)

    def test_otherNumbersAreThoseOfTheProgram(self) -> None:
        """
        Of what is limited, and no option changes.
        """
        before = [str(each.days) for each in expiry.WARNINGS]
        warned = f"{', '.join(before[:-1])} and {before[-1]} days"
        (lifetime,) = (each.default for each in AGENT_OPTIONS if each.name == "lifetime")
        days = MOST_SECONDS / agent.DAY_SECONDS
        kept = f"{ClientRole.maxBytes // 1024} KiB, {ClientRole.maxLines} lines"
        for page, words in (
            ("docs/tlstunnel.8", f"{warned} before"),
            ("docs/deployment.md", f"{warned} before"),
            ("docs/security.md", f"{warned} before"),
            ("docs/tlstunnel.8", f"cut after {errors.QUOTED} bytes"),
            ("docs/security.md", f"cut at {errors.QUOTED} bytes"),
            ("docs/tlstunnel.8", f"{kept}, and lines of {ClientRole.maxLine} or "),
            ("docs/tlstunnel.8", "ten refused commands or three syntax errors"),
            ("docs/tokens.md", f"exit code {PIN_REFUSED}"),
            ("docs/tokens.md", f"{RSA_BITS} bits"),
            ("docs/agent.md", f"{admission.PER_USER} connections at the same time"),
            ("docs/agent.md", f"{admission.RATE_PER_USER:g} requests in a second"),
            ("docs/agent.md", f"{admission.STAYING_PER_USER} connections of a user stay"),
            ("docs/agent.md", f"{lifetime:g} seconds by default"),
            ("docs/agent.md", f"{LEAST_SECONDS:g} seconds at least and {days:g} days at most"),
            ("docs/provisioning.md", f"{MAX_VALUES} values"),
            ("docs/provisioning.md", f"{MAX_ENTRIES} entries and {MAX_BYTES >> 20} MiB"),
            ("docs/provisioning.md", f"every {REST_SECONDS:g} seconds at most"),
        ):
            self.assertIn(words, " ".join((CHECKOUT / page).read_text().split()), page)
        self.assertEqual((base.MAX_REFUSED_COMMANDS, base.MAX_SYNTAX_ERRORS), (10, 3))

    def test_identityCommandsExist(self) -> None:
        """
        The same for the commands that keep the pool.
        """
        shown = 0
        for page, words in commands():
            if words[:2] == ["tlstunnel", "identity"]:
                self.understands(IdentityOptions(), words[2:], page)
                shown += 1
        self.assertGreater(shown, 3)

    def test_debuggingCommandsExist(self) -> None:
        """
        The same for those in the table that answers for each protocol.
        """
        page = CHECKOUT / "docs" / "debugging.md"
        shown = re.findall(r"`tlstunnel ([^`]+)`", page.read_text())
        shown += [" ".join(words[1:]) for name, words in commands() if name == page.name]
        probes = [each.split()[1:] for each in shown if each.startswith("probe ")]
        tunnels = [each.split() for each in shown if each.startswith("-c ")]
        self.assertGreater(min(len(probes), len(tunnels)), 15)
        for each in probes:
            options = ProbeOptions()
            self.understands(options, each, page.name)
            options.question()
        for each in tunnels:
            self.understands(RunOptions(), each, page.name)

    def test_namesNoMachine(self) -> None:
        """
        Nothing that is published has a path of the machine that it was written on.
        """
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        if listed.returncode:
            raise SkipTest("this is no git checkout")
        private = re.compile(rb"/w[o]rk/|/r[o]ot/|/tmp/[v]/")
        found = [
            name
            for name in listed.stdout.split("\0")
            if (path := CHECKOUT / name).is_file() and private.search(path.read_bytes())
        ]
        self.assertEqual(found, [])


class ManualTests(SynchronousTestCase):
    """
    C{tlstunnel(8)}.
    """

    def setUp(self) -> None:
        """
        Read it.
        """
        self.text = MANUAL.read_text()
        self.options = [tap.Options(), RunOptions()]

    def test_hasTheOptionsOfTheTable(self) -> None:
        """
        As docs/options.py, which make docs runs, writes them: names, defaults, units and words.
        """
        written = runpy.run_path(str(CHECKOUT / "docs" / "options.py"))["page"](self.text)
        self.assertEqual(written, self.text, "run make docs")

    def test_hasEveryOption(self) -> None:
        """
        Each option of the program and of twistd's command is explained, under both its names.
        """
        entries = " ".join(re.findall(r"(?m)^\.It (.*Fl -.*)$", self.text)) + " "
        known = [f"-{name.rstrip('=')}" for each in self.options for name in each.longOpt]
        known += [name for each in self.options for name in each.shortOpt.replace(":", "")]
        self.assertEqual([name for name in known if f"Fl {name} " not in entries], [])

    def test_hasNoOtherOption(self) -> None:
        """
        What is explained exists.
        """
        known = {name.rstrip("=") for each in self.options for name in each.longOpt}
        known |= {"pool", "force", "cert", "key", "once", "status", "json", "watch", "output"}
        known |= {"all", "pem", "timeout", "from", "fingerprint", "request", "psk", "allow-removal"}
        known |= {"remove", "user", "token", "rsa"}
        known |= {each.name for each in (*POOL_SERVICE_KEYS, *AGENT_OPTIONS)} | {"permit", "days"}
        explained = set(re.findall(r"Fl -([a-z0-9-]+)", self.text))
        self.assertEqual(explained - known, set())

    def test_hasEveryReason(self) -> None:
        """
        Each word that can say in the log how a connection ended is explained, and no other.
        """
        reasons = {
            each.reason
            for each in vars(errors).values()
            if isinstance(each, type) and issubclass(each, TunnelError)
        }
        diagnostics = self.text.partition(".Sh DIAGNOSTICS")[2].partition(".Sh ")[0]
        self.assertEqual(set(re.findall(r"(?m)^\.It ([a-z-]+)$", diagnostics)), reasons)

    def test_hasEveryCommand(self) -> None:
        """
        Each command of the program has an entry, and so has each of those within one.
        """
        names = list(COMMANDS)
        names += [f"identity {name}" for name, *_ in IdentityOptions.subCommands]
        names += [f"pool {name}" for name, *_ in PoolCommandOptions.subCommands]
        self.assertEqual([name for name in names if f"\n.It Cm {name}" not in self.text], [])

    def test_formatsWithoutWarnings(self) -> None:
        """
        man(1) shows it as it was meant.
        """
        if not any(map(shutil.which, ("mandoc", "groff"))):
            raise SkipTest("there is neither mandoc nor groff")
        done = subprocess.run(
            [CHECKOUT / ".ci" / "manual", MANUAL], capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stdout + done.stderr)


class KeysTests(SynchronousTestCase):
    """
    C{tlstunnel.toml(5)}.
    """

    def setUp(self) -> None:
        """
        Read it.
        """
        self.text = KEYS.read_text()

    def test_hasTheKeysOfTheTables(self) -> None:
        """
        As docs/options.py, which make docs runs, writes them.
        """
        written = runpy.run_path(str(CHECKOUT / "docs" / "options.py"))["page"](self.text)
        self.assertEqual(written, self.text, "run make docs")

    def test_hasEveryKey(self) -> None:
        """
        Each that a file can have is explained, and no other.
        """
        keys = [INCLUDE, *PROCESS_KEYS, *STATUS_KEYS, *POOL_SERVICE_OPTIONS, *TUNNEL_KEYS]
        keys += POOL_PULL_KEYS
        explained = re.findall(r"(?m)^\.It Cm ([a-z0-9-]+) No =", self.text)
        self.assertEqual(sorted(explained), sorted(each.name for each in keys))

    def test_theExamplesAreRight(self) -> None:
        """
        Here and on the first page: they can be read.
        """
        example = self.text.partition(".Bd -literal -offset indent\n")[2].partition(".Ed")[0]
        path = Path(self.mktemp())
        for text, count in (
            (example, 3),
            *((text, 2) for text in blocks(CHECKOUT / "README.md", "toml")),
        ):
            path.write_text(text)
            self.assertEqual(len(readConfiguration(path).tunnels), count)

    def test_namesAreAsTheirPageHasThem(self) -> None:
        """
        docs/names.md: all its examples in one file.
        """
        path = Path(self.mktemp())
        path.write_text("\n".join(blocks(CHECKOUT / "docs" / "names.md", "toml")))
        (tunnel,) = readConfiguration(path).tunnels
        self.assertEqual(
            [each.name for each in tunnel.names],
            ["shop.example.org", "admin.example.org", "*.users.example.org", "api.example.org"],
        )

    def test_formatsWithoutWarnings(self) -> None:
        """
        man(1) shows it as it was meant.
        """
        if not any(map(shutil.which, ("mandoc", "groff"))):
            raise SkipTest("there is neither mandoc nor groff")
        done = subprocess.run(
            [CHECKOUT / ".ci" / "manual", KEYS], capture_output=True, text=True, check=False
        )
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stdout + done.stderr)


class RulesTests(SynchronousTestCase):
    """
    The tables of the rules in docs/security.md.
    """

    def test_everyTestThatIsNamedExists(self) -> None:
        """
        In the module before it, in whichever table.
        """
        text = (CHECKOUT / "docs" / "security.md").read_text()
        named = re.findall(r"`((?:\w+/)?test_\w+)`:\s+((?:`\w+`(?:,\s+)?)+)", text)
        self.assertTrue(named)
        for where, tests in named:
            source = (CHECKOUT / "tests" / f"{where}.py").read_text()
            for name in re.findall(r"`(\w+)`", tests):
                self.assertIn(f"def test_{name}(", source, (where, name))

    def test_everyTestThatGuardsARuleExists(self) -> None:
        """
        In the module named before it, or in the conformance suite.
        """
        text = (CHECKOUT / "docs" / "security.md").read_text()
        rows = re.findall(r"(?m)^\| ([0-9]+)\. .*\| (.*) \|$", text)
        self.assertEqual([int(number) for number, _ in rows], list(range(1, 20)))
        suite = "".join(path.read_text() for path in CHECKOUT.glob("tlstunnel/testing/*.py"))
        for _, guards in rows:
            for where, tests in re.findall(
                r"(conformance|`(?:\w+/)?test_\w+`)(?:: ((?:`\w+`(?:, )?)+))?", guards
            ):
                source = suite
                if where != "conformance":
                    source = (CHECKOUT / "tests" / f"{where.strip('`')}.py").read_text()
                for name in re.findall(r"`(\w+)`", tests):
                    self.assertIn(f"def test_{name}(", source, (where, name))
