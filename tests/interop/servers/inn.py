"""
INN: nntp, by its reader daemon nnrpd alone.
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
spoolfirst: true
nnrpdloadlimit: 0
{tls}
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
        self.write("inn.conf", CONFIGURATION.format(directory=self.directory, tls=tls))
        self.write("readers.conf", readers)
        self.write("storage.conf", STORAGE)
        self.write("db/active", f"{GROUP} 0000000001 0000000001 y\n")
        self.write("db/active.times", "")
        self.write("db/newsgroups", f"{GROUP}\tAbout tunnels\n")
        article = self.directory / "spool" / "articles" / GROUP.replace(".", "/") / "1"
        article.parent.mkdir(parents=True)
        article.write_bytes(ARTICLE.replace("\n", "\r\n").encode())
        for name in ("incoming", "overview"):
            (self.directory / "spool" / name).mkdir()

    def populate(self) -> None:
        """
        Index the article; its own program insists on being the news account, as the server is.
        """
        subprocess.run(
            ["/usr/lib/news/bin/makehistory", "-O"],
            env={**os.environ, **self.environment()},
            user=NEWS,
            group=pwd.getpwnam(NEWS).pw_gid,
            check=True,
            capture_output=True,
        )
