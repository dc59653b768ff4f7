"""
INN: nntp, by its reader daemon nnrpd alone, or behind the transit daemon innd as it usually is.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence

from tests.interop.harness import Daemon

#: The account of everything that belongs to INN.
NEWS = "news"

#: The group that there is.
GROUP = "test.tunnels"

CONFIGURATION = """\
domain: test.example
pathhost: news.test.example
pathnews: /usr/lib/news
pathdb: {directory}/db
pathetc: {directory}
pathrun: {directory}
pathlog: {directory}
pathtmp: {directory}
pathspool: {directory}/spool
mta: "/bin/false %s"
hismethod: hisv6
enableoverview: true
ovmethod: tradindexed
readerswhenstopped: true
nnrpdloadlimit: 0
{tls}
"""

#: Without a transit daemon, articles that are posted wait in a directory.
ALONE = """\
spoolfirst: true
"""

#: The transit daemon hands readers over at their MODE READER, which only peers have to say.
TRANSIT = """\
bindaddress: 127.0.0.1
noreader: false
"""

PEERS = """\
peer test {
    hostname: "127.0.0.1"
}
"""

STARTTLS = """\
tlscapath: {directory}
tlscertfile: {chain}
tlskeyfile: {key}
tlsprotocols: [ TLSv1.2 TLSv1.3 ]
"""

READERS = """\
auth reader {{
    hosts: "*"
    {requirement}
    default: "<reader>"
}}
access reader {{
    users: "<reader>"
    newsgroups: "*"
    access: "RP"
}}
"""

#: Stands first, since the last group that matches counts: before TLS there is no group to be seen.
STRANGERS = """\
auth stranger {{
    hosts: "*"
    default: "<stranger>"
}}
access stranger {{
    users: "<stranger>"
    newsgroups: "!*"
    access: "R"
}}
"""

STORAGE = """\
method tradspool {
    newsgroups: *
    class: 0
}
"""

SUBJECT = "The first article"

ARTICLE = f"""\
Path: news.test.example!not-for-mail
From: writer@test.example
Newsgroups: {GROUP}
Subject: {SUBJECT}
Date: Mon, 01 Jan 2024 12:00:00 +0000
Message-ID: <first@test.example>
Xref: news.test.example {GROUP}:1
Lines: 1

..A line that begins with a dot.
.
"""


class NNRPD(Daemon):
    """
    With certificates: STARTTLS, and no group without.  Without: no TLS.

    One group, L{GROUP}, with one article.
    """

    packages = ("inn2",)
    title = "INN nnrpd"
    program = "/usr/lib/news/bin/nnrpd"
    services = ("nntp",)
    user = NEWS
    needsRoot = True

    settings = ALONE

    def command(self) -> Sequence[str]:
        configuration = str(self.directory / "readers.conf")
        return [self.executable, "-D", "-f", "-p", str(self.port), "-c", configuration]

    def environment(self) -> Mapping[str, str]:
        return {"INNCONF": str(self.directory / "inn.conf")}

    def configure(self) -> None:
        tls, readers = "", READERS.format(requirement="")
        if self.certificates is not None:
            tls = STARTTLS.format(
                directory=self.directory,
                chain=self.certificates.chain,
                key=self.certificates.key,
            )
            readers = STRANGERS.format() + READERS.format(requirement="require_encryption: true")
        configuration = CONFIGURATION.format(directory=self.directory, tls=tls)
        self.write("inn.conf", configuration + self.settings)
        self.write("readers.conf", readers)
        self.write("storage.conf", STORAGE)
        counters = "0000000000 0000000001"
        system = [f"{name} {counters} n\n" for name in ("control", "control.cancel", "junk")]
        self.write("db/active", f"{GROUP} 0000000001 0000000001 y\n" + "".join(system))
        self.write("db/active.times", "")
        self.write("db/newsgroups", f"{GROUP}\tAbout tunnels\n")
        article = self.directory / "spool" / "articles" / GROUP.replace(".", "/") / "1"
        article.parent.mkdir(parents=True)
        article.write_bytes(ARTICLE.replace("\n", "\r\n").encode())
        for name in ("incoming", "overview"):
            (self.directory / "spool" / name).mkdir()

    def populate(self) -> None:
        """
        Index the article.
        """
        self.runAsNews("makehistory", "-O")

    def runAsNews(self, *command: str) -> None:
        """
        Run one of INN's programs, which insist on being the news account as the server is.
        """
        subprocess.run(
            [f"/usr/lib/news/bin/{command[0]}", *command[1:]],
            cwd=self.directory / "db",
            env={**os.environ, **self.environment()},
            user=NEWS,
            group=pwd.getpwnam(NEWS).pw_gid,
            check=True,
            capture_output=True,
        )


class INND(NNRPD):
    """
    The same behind the transit daemon: STARTTLS is there after MODE READER only, and an article
    that is posted can be read.
    """

    title = "INN innd"
    program = "/usr/lib/news/bin/innd"

    settings = TRANSIT

    #: It notices SIGTERM with its next article, and what it would save is thrown away anyway.
    stopTime = 0.2

    def configure(self) -> None:
        super().configure()
        self.write("newsfeeds", "ME:*::\n")
        self.write("incoming.conf", PEERS)
        self.write("control.ctl", "all:*:*:drop\n")
        self.write("expire.ctl", "/remember/:11\n")
        self._giveAway(NEWS)
        super().populate()
        self.runAsNews("makedbz", "-i", "-o")

    def command(self) -> Sequence[str]:
        return [self.executable, "-f", "-d", "-P", str(self.port)]

    def populate(self) -> None:
        """
        The article was indexed before.
        """
