"""
Whose an error is that a word raises.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.reveal.stage import begun
from tlstunnel.errors import BackendRefused, Closed, Malformed, TunnelError
from tlstunnel.reveal.word import Introduction, Word
from tlstunnel.tunnel.hints.choosing import hintFor


class _Raising(Introduction):
    """
    Raises what it is given, while it speaks to the backend or while it speaks to both.
    """

    async def introduce(self) -> None:
        """
        See L{Introduction}.
        """
        self._raise("introduce")

    async def converse(self) -> None:
        """
        See L{Introduction}.
        """
        self._raise("converse")

    def _raise(self, step: str) -> None:
        when, error = self.known
        if when == step:
            raise error


WORD = Word(name="raising", summary="", dialects=(), introduction=_Raising)


def ended(when: str, error: TunnelError) -> tuple[str, str]:
    """
    How a connection ends.

    @param when: in which step of the word.
    @return: whose the error is, and the hint.
    """
    driver = begun([(WORD, (when, error))])
    assert driver.error is error
    driver.pair.record.end(error)
    return error.who, hintFor(driver.pair.record)


class WhoseTests(SynchronousTestCase):
    """
    Words need not say it.
    """

    def test_whatEndsTheIntroductionIsTheBackends(self) -> None:
        """
        Nobody else was heard.
        """
        who, hint = ended("introduce", Malformed("no answer"))
        self.assertEqual(who, "the backend")
        self.assertIn("speaks the protocol of --reveal", hint)

    def test_whatEndsTheConversationIsTheClients(self) -> None:
        """
        So there is no advice about the backend.
        """
        for error in (Malformed("no command"), Closed("the peer left")):
            self.assertEqual(ended("converse", error), ("the client", ""))

    def test_unlessItIsSaid(self) -> None:
        """
        By the word, or by the kind of the error.
        """
        for error in (Malformed("no answer").by("the backend"), BackendRefused("no")):
            who, hint = ended("converse", error)
            self.assertEqual(who, "the backend")
            self.assertIn("--reveal", hint)
