"""
Trust on first use, with eyes open: what a server shows, and which of it could be believed from now
on.

Only what stands behind the server's own certificate can be: each certificate of the way upwards is
signed by the next.  And what is chosen is tried, by a second connection that is judged as that of a
tunnel which believes that alone: whatever would not do, is not stored.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.errors import ConfigurationError
from tlstunnel.identity.names import KeyIdentity
from tlstunnel.identity.pool import Pool
from tlstunnel.probe.inquiry import Inquiry
from tlstunnel.probe.question import Question
from tlstunnel.probe.report import GOOD, Report
from tlstunnel.probe.shown import Shown, path
from tlstunnel.probe.verdict import wantsCertificate
from tlstunnel.tunnel.description import PINS

# What nobody's key has.
_NOBODY = KeyIdentity.of(bytes(32))


@dataclass(frozen=True)
class Meeting:
    """
    What came of it.

    @ivar report: on a server that nobody is believed about.
    @ivar choice: what could be believed; L{None} if there is nothing.
    @ivar isLeaf: whether that is the server's own certificate.
    @ivar trial: the report with that alone as an anchor.
    """

    report: Report
    choice: Shown | None = None
    isLeaf: bool = False
    trial: Report | None = None

    @property
    def isGood(self) -> bool:
        """Whether the server would be believed with it, even if that wants to know us first."""
        trial = self.trial
        if trial is None or not trial.sight.verified or trial.sight.complaints:
            return False
        # Certificates prove nothing before their key does; where we end it, that may have failed.
        return trial.exit == GOOD or wantsCertificate(trial)


async def meet(question: Question, fingerprint: str, reactor: Any) -> Meeting:
    """
    See what a server shows, and try what could be believed of it.

    @param fingerprint: that of the certificate to believe, in hexadecimal digits; empty for the top
        of what is shown, which is the server's own where it stands alone or has signed itself.
    @raise ConfigurationError: it shows none with that fingerprint.
    """
    nowhere = Pool(question.tunnel.pool.path, asked=False)
    tunnel = replace(question.tunnel, pool=nowhere)
    stranger = replace(tunnel, trust=(PINS,), pins=(_NOBODY,))
    report = await Inquiry(replace(question, tunnel=stranger), reactor).run()
    leading = path(report.chain)
    if not leading:
        return Meeting(report)
    choice = _chosen(leading, fingerprint)
    with tempfile.TemporaryDirectory(prefix="tlstunnel-") as directory:
        file = Path(directory) / "anchor.pem"
        assert choice.certificate is not None
        file.write_bytes(choice.certificate.public_bytes(Encoding.PEM))
        believing = replace(tunnel, trust=(str(file),), pins=())
        trial = await Inquiry(replace(question, tunnel=believing), reactor).run()
    return Meeting(report, choice, choice is leading[0], trial)


def _chosen(leading: list[Shown], fingerprint: str) -> Shown:
    if not fingerprint:
        return leading[-1]
    for each in leading:
        if each.sha256 == fingerprint:
            return each
    found = ", ".join(each.sha256 for each in leading)
    raise ConfigurationError(
        f"--fingerprint {fingerprint}",
        f"is that of no certificate on the way from the server's own upwards ({found})",
        "compare it with what the administrator of the server says: somebody may be in between",
    )
