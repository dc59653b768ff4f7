"""
What an installation has in it, and that twistd finds it: from a wheel, which is what C{pip install
.} makes too, and from an editable one.

Everything is built and installed without the network: the virtual environments see the packages of
the one that runs the tests, but not what is only editable there.
"""

from __future__ import annotations

import atexit
import os
import re
import select
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import tlstunnel

CHECKOUT = Path(__file__).parent.parent
SOURCES = (
    "LICENSE",
    "README.md",
    "docs",
    "pyproject.toml",
    "setup.cfg",
    "tests",
    "tlstunnel",
    "twisted",
)

BUILD = """
import sys
from setuptools import build_meta
getattr(build_meta, sys.argv[1])(sys.argv[2])
"""

TWISTD = "from twisted.scripts.twistd import run; run()"

WITHOUT_CHECKOUT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """
    Run a command that must succeed, outside of the checkout.

    @return: what it wrote, to both its outputs.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=WITHOUT_CHECKOUT | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def copySources(target: Path) -> None:
    """
    Copy what a build needs, so that it leaves nothing behind in the checkout.
    """
    target.mkdir()
    for name in SOURCES:
        (target / name).symlink_to(CHECKOUT / name)


def build(hook: str, sources: Path, target: Path) -> Path:
    """
    Call a hook of the build system (PEP 517, PEP 660), as pip does.

    @return: the wheel.
    """
    target.mkdir()
    run(sys.executable, "-c", BUILD, hook, target, cwd=sources)
    [wheel] = target.iterdir()
    return wheel


def install(wheel: Path, target: Path) -> Path:
    """
    Install a wheel into a virtual environment of its own, which sees our dependencies.

    @return: the directory of its programs.
    """
    venv.create(target, symlinks=True)
    programs = target / "bin"
    run(
        *(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"),
        *("--no-index", "--no-deps", "--disable-pip-version-check", wheel),
        cwd=target,
    )
    [packages] = target.glob("lib/python*/site-packages")
    # Only a directory on the path: the editable installations in it are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


@dataclass(frozen=True)
class Installations:
    """
    One wheel, and the directories of the programs that it and an editable one install.
    """

    directory: Path
    wheel: Path
    programs: dict[str, Path]


@cache
def installations() -> Installations:
    """
    Build and install; trial calls no C{setUpClass}, so the first test that asks pays.
    """
    temporary = TemporaryDirectory(prefix="tlstunnel-packaging-")
    atexit.register(temporary.cleanup)
    directory = Path(temporary.name)
    copySources(directory / "sources")
    wheel = build("build_wheel", directory / "sources", directory / "wheels")
    editable = build("build_editable", directory / "sources", directory / "editables")
    programs = {
        "wheel": install(wheel, directory / "fromWheel"),
        "editable": install(editable, directory / "fromEditable"),
    }
    return Installations(directory, wheel, programs)


class PackagingTests(SynchronousTestCase):
    """
    What users of pip get.
    """

    def wheelFiles(self) -> set[str]:
        """
        The names of all files in the wheel.
        """
        with zipfile.ZipFile(installations().wheel) as wheel:
            return set(wheel.namelist())

    def outside(self, program: str, *arguments: str, **environment: str) -> dict[str, str]:
        """
        Run a program of both installations, far from the checkout.

        @return: what it wrote, for each installation.
        """
        return {
            name: run(programs / program, *arguments, cwd=installations().directory, **environment)
            for name, programs in installations().programs.items()
        }

    def test_twistdListsThePlugin(self) -> None:
        """
        C{twistd --help} shows our command, however we were installed.
        """
        for name, text in self.outside("python", "-c", TWISTD, "--help").items():
            self.assertRegex(text, r"(?m)^ +tlstunnel +\S", name)

    def test_twistdTakesOurOptions(self) -> None:
        """
        What C{twistd tlstunnel} takes is what C{tlstunnel} takes.
        """
        arguments = ("-c", TWISTD, "--pidfile=", "tlstunnel", "--list-protocols")
        asDaemon = self.outside("python", *arguments)
        self.assertEqual(asDaemon, self.outside("tlstunnel", "--list-protocols"))

    def test_twistdListsTheReactor(self) -> None:
        """
        C{twistd --help-reactors} shows ours as one that it can install.
        """
        if not hasattr(select, "epoll"):
            raise SkipTest("this system has no epoll")
        for name, text in self.outside("python", "-c", TWISTD, "--help-reactors").items():
            self.assertRegex(text, r"(?m)^ +tlstunnel\s+\S", name)

    def test_demonstrationRuns(self) -> None:
        """
        Both modes work as installed, without the checkout.
        """
        for name, text in self.outside("tlstunnel", "demo", "--once").items():
            self.assertIn("200 OK", text, name)
            self.assertRegex(text, r"6. How both are, .*: http://.*/\n", name)

    def test_wheelHasEveryModule(self) -> None:
        """
        No module of the package is left out, and nothing else is let in.
        """
        ours = {
            str(path.relative_to(CHECKOUT))
            for path in (CHECKOUT / "tlstunnel").rglob("*")
            if path.suffix in {".py", ".chat", ".cnf", ".service", ".socket"}
            or path.name == "py.typed"
            or (path.parent.name == "site" and path.is_file())
        }
        packed = {name for name in self.wheelFiles() if ".dist-info/" not in name}
        data = {name for name in packed if ".data/" in name}
        self.assertEqual(
            packed - data,
            ours
            | {"twisted/plugins/tlstunnel_endpoints.py", "twisted/plugins/tlstunnel_plugin.py"},
        )

    def test_twistedRemainsTwisteds(self) -> None:
        """
        An C{__init__.py} of ours in Twisted's package would replace Twisted's own.
        """
        self.assertNotIn("twisted/__init__.py", self.wheelFiles())
        self.assertNotIn("twisted/plugins/__init__.py", self.wheelFiles())

    def test_manualPageAndCompletionAreInstalled(self) -> None:
        """
        man(1), bash and zsh find them beside the programs.
        """
        share = installations().programs["wheel"].parent / "share"
        for name, source in (
            ("man/man5/tlstunnel.toml.5", "tlstunnel.toml.5"),
            ("man/man8/tlstunnel.8", "tlstunnel.8"),
            ("bash-completion/completions/tlstunnel", "completion/tlstunnel"),
            ("zsh/site-functions/_tlstunnel", "completion/_tlstunnel"),
        ):
            text = (CHECKOUT / "docs" / source).read_text()
            self.assertEqual((share / name).read_text(), text)

    def test_pluginImportsNothingOfOurs(self) -> None:
        """
        Every start of twistd on the machine loads the plugin: it has to be cheap and harmless.
        """
        code = (
            "import sys, twisted.plugins.tlstunnel_plugin as plugin, "
            "twisted.plugins.tlstunnel_endpoints; print(plugin.__file__);"
            "print([name for name in sys.modules if name.split('.')[0] == 'tlstunnel'])"
        )
        for name, text in self.outside("python", "-c", code).items():
            origin, imported = text.splitlines()
            self.assertTrue(origin.startswith(str(installations().directory)), origin)
            self.assertEqual(imported, "[]", name)

    def test_endpointStringsAreKnown(self) -> None:
        """
        To every program of Twisted's.
        """
        code = (
            "from twisted.internet import endpoints, reactor;"
            "strings = 'tlstunnel:a.example.org:25:starttls=smtp', "
            "'starttls:smtp:tcp\\\\:25:local=a.example.org';"
            "print(type(endpoints.clientFromString(reactor, strings[0])).__name__,"
            "type(endpoints.serverFromString(reactor, strings[1])).__name__)"
        )
        found = self.outside("python", "-c", code)
        self.assertEqual(set(found.values()), {"TunnelClientEndpoint TunnelServerEndpoint\n"})

    def test_dialectsOfOthersAreFound(self) -> None:
        """
        A module that another distribution puts beside ours becomes part of C{tlstunnel.plugins}.
        """
        other = installations().directory / "other" / "tlstunnel" / "plugins"
        other.mkdir(parents=True)
        (other / "acme_dialect.py").write_text("origin = 'elsewhere'\n")
        code = "from tlstunnel.plugins import acme_dialect; print(acme_dialect.origin)"
        found = self.outside("python", "-c", code, PYTHONPATH=str(other.parent.parent))
        self.assertEqual(set(found.values()), {"elsewhere\n"})

    def test_unitsRunTheProgramThatIsInstalled(self) -> None:
        """
        Not the one that is found first.
        """
        for name, text in self.outside("tlstunnel", "unit").items():
            program = (installations().programs[name] / "tlstunnel").resolve()
            self.assertIn(f"\nExecStart={program} --config ", text)

    def test_programTellsItsVersion(self) -> None:
        """
        The C{tlstunnel} program is there and runs.
        """
        for name, text in self.outside("tlstunnel", "--version").items():
            self.assertIn(tlstunnel.__version__, text, name)

    def test_metadataNamesOnlyWhatIsNeeded(self) -> None:
        """
        Our dependencies at run time are four, and what they bring along.
        """
        with zipfile.ZipFile(installations().wheel) as wheel:
            [metadata] = (name for name in wheel.namelist() if name.endswith("/METADATA"))
            text = wheel.read(metadata).decode()
        required = re.findall(r"(?m)^Requires-Dist: ([\w.-]+)(?!.*extra ==)", text)
        self.assertEqual(
            {name.lower() for name in required},
            {"twisted", "pyopenssl", "service-identity", "zope.interface"},
        )
