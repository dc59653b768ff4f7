"""
munin-node, with one plugin of its own; and munin-update, which asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.interop.harness import Daemon, Outcome, ServerCertificate, find, requireRoot, run

#: What the node calls itself, and the master.
NODE = "node.test.example"

#: The plugin, and what it measures; in more than one line.
PLUGIN = """\
#!/bin/sh
if [ "$1" = config ]; then
    echo graph_title Snarks
    echo boojums.label boojums
    echo snarks.label snarks
else
    echo boojums.value 1
    echo snarks.value 42
fi
"""

CONFIGURATION = """\
log_level 4
log_file {directory}/log
pid_file {directory}/pid
background 0
setsid 0
user root
group root
host_name {node}
allow ^127\\.0\\.0\\.1$
host 127.0.0.1
port {port}
{tls}
"""

TLS = """\
tls enabled
tls_private_key {key}
tls_certificate {chain}
"""

#: Says where all of it is; there is no option for the plugins.
ELSEWHERE = """\
package Elsewhere;
use Munin::Common::Defaults;
$Munin::Common::Defaults::MUNIN_CONFDIR = q{%s};
1;
"""


class MuninNode(Daemon):
    """
    With certificates: STARTTLS, and nothing without.  Without: no TLS, and no key for it.
    """

    packages = ("munin-node",)
    title = "munin-node"
    program = "munin-node"
    services = ("munin",)
    needsRoot = True

    def configure(self) -> None:
        directory, tls = self.directory, ""
        self.logs.append(directory / "log")
        if self.certificates is not None:
            chain, key = self.certificates.chain, self.certificates.key
            tls = TLS.format(key=key, chain=chain)
        text = CONFIGURATION.format(directory=directory, node=NODE, port=self.port, tls=tls)
        self.write("munin-node.conf", text)
        self.write("plugins/snarks", PLUGIN, 0o755)
        self.write("plugin-conf.d/empty", "")
        self.write("perl/Elsewhere.pm", ELSEWHERE % directory)

    def command(self) -> Sequence[str]:
        """
        As its first line has it, with a module more.
        """
        perl = ["perl", "-wT", f"-I{self.directory}/perl", "-MElsewhere"]
        return [*perl, self.executable, "--config", f"{self.directory}/munin-node.conf"]


#: The account of the master, which does not run as root.
MUNIN = "munin"

MASTER = """\
dbdir {directory}
htmldir {directory}
logdir {directory}
rundir {directory}
tmpldir /etc/munin/templates
{tls}
[{node}]
    address 127.0.0.1
    port {port}
"""

VERIFYING = """\
tls {mode}
tls_verify_certificate yes
tls_verify_depth 5
tls_ca_certificate {anchors}
"""


#: Whoever is paranoid shows who he is.
SHOWING = """\
tls_private_key {key}
tls_certificate {chain}
"""


def update(
    directory: Path,
    port: int,
    anchors: Path | None = None,
    certificates: ServerCertificate | None = None,
) -> Outcome:
    """
    Ask the node at C{port} for all that it measures, once.

    @param directory: made; what has been measured is in its log.
    @param anchors: whom the node has to be certified by; without, there is no TLS.
    @param certificates: what the master shows.
    @return: the log, and how it ended.
    """
    program = find("/usr/share/munin/munin-update", "munin")
    requireRoot("munin-update")
    directory.mkdir()
    tls = "tls disabled"
    if anchors is not None:
        mode = "enabled" if certificates is None else "paranoid"
        tls = VERIFYING.format(mode=mode, anchors=anchors)
    if certificates is not None:
        tls += SHOWING.format(key=certificates.key, chain=certificates.chain)
    text = MASTER.format(directory=directory, tls=tls, node=NODE, port=port)
    configuration = directory / "munin.conf"
    configuration.write_text(text)
    run(["chown", "-R", MUNIN, str(directory)]).expect()
    account = ["setpriv", f"--reuid={MUNIN}", f"--regid={MUNIN}", "--clear-groups"]
    words = ["--config_file", str(configuration), "--debug", "--nofork"]
    outcome = run([*account, program, *words])
    log = directory / "munin-update.log"
    text = log.read_text() if log.exists() else ""
    return Outcome(outcome.command, outcome.code, outcome.text + text)
