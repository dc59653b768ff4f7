"""
Tests for L{tlstunnel.poolservice.request}: what programs ask for, and what they are told of
mistakes.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tlstunnel.identity.names import Identity, Selector
from tlstunnel.local.refusals import Refusal
from tlstunnel.poolservice.messages import read
from tlstunnel.poolservice.refusals import BadRequest
from tlstunnel.poolservice.request import FIELDS, Plain, Request, requestOf
from tlstunnel.poolservice.wanted import Demand, Wanted
from tlstunnel.protocols.registry import find

MAIL = Identity(None, "mail.example.org")
ALICE = Identity("alice", "example.org")

CLIENT = "role=client\nremote=mail.example.org\n"


def wanted(**settings: Any) -> Wanted:
    """
    What is wanted where nothing else is said.
    """
    defaults: dict[str, Any] = {"isClient": True, "dialect": find("none"), "remote": MAIL}
    return Wanted(**(defaults | settings))


def served(**settings: Any) -> Wanted:
    """
    The same of a server.
    """
    return wanted(**({"isClient": False, "remote": None} | settings))


# Fields, and what they mean.
REQUESTS = {
    CLIENT: Request(wanted()),
    "role=client\nremote=MAIL.Example.org.\n": Request(wanted()),
    "role=client\nremote=192.0.2.1\n": Request(wanted(remote=Identity(None, "192.0.2.1"))),
    CLIENT + "local=alice@example.org\n": Request(wanted(local=ALICE)),
    CLIENT + "local=-\n": Request(wanted(isNobody=True)),
    CLIENT + "starttls=smtp\n": Request(wanted(dialect=find("smtp"))),
    CLIENT + "starttls=Submission\n": Request(wanted(dialect=find("smtp"))),
    CLIENT + "service=smtp\n": Request(wanted(), service="smtp"),
    CLIENT + "service=\n": Request(wanted()),
    CLIENT + "alpn=h2,http/1.1\n": Request(wanted(alpn=(b"h2", b"http/1.1"))),
    CLIENT + "minimum=1.3\n": Request(wanted(minimum="1.3")),
    CLIENT + "timeout=5\n": Request(wanted(seconds=5.0)),
    CLIENT + "plain=tcp\n": Request(wanted(), Plain.TCP),
    CLIENT + "plain=unix\n": Request(wanted(), Plain.UNIX),
    CLIENT + "starttls=ftp\nplain=tcp\n": Request(wanted(dialect=find("ftp")), Plain.TCP),
    "role=server\n": Request(served()),
    "role=server\nlocal=mail.example.org\n": Request(served(local=MAIL)),
    "role=server\nremote=@.example.org\n": Request(
        served(remote=Selector("", ".example.org"), demand=Demand.REQUIRE)
    ),
    "role=server\nremote=.\nclient=require\n": Request(
        served(remote=Selector(None, "."), demand=Demand.REQUIRE)
    ),
    "role=server\nclient=require\n": Request(served(demand=Demand.REQUIRE)),
    "role=server\nclient=request\n": Request(served(demand=Demand.REQUEST)),
    "role=server\nclient=ignore\n": Request(served()),
}

# Fields, the reason, and what the refusal says.
MISTAKES = {
    "": ("syntax", "does not say the role; add role=client or server"),
    "remote=mail.example.org\n": ("syntax", "does not say the role"),
    "role=Client\n": ("syntax", "role=Client is not known; write client or server"),
    "role=both\n": ("syntax", "role=both is not known"),
    "role=client\n": ("no-remote", "add remote=, such as remote=mail.example.org"),
    "role=client\nremote=\n": ("syntax", "remote= is empty; give a value, or leave the line out"),
    "role=server\nremote=\n": ("syntax", "remote= is empty"),
    "role=client\nremote=.example.org\n": ("syntax", "it may stand for several; give one of them"),
    "role=client\nremote=a b\n": ("syntax", "remote= is wrong: 'a b'"),
    "role=client\nremote=mail.example.org:25\n": ("syntax", "remote= is wrong"),
    "role=server\nremote=*.example.org\n": ("syntax", "write .example.org for all of them"),
    CLIENT + "local=@example.org\n": ("syntax", "local= is wrong"),
    CLIENT + "local=../trust\n": ("syntax", "local= is wrong"),
    "role=server\nlocal=-\n": ("syntax", "a server has to be somebody"),
    "role=server\nlocal=.\n": ("syntax", "local= is wrong"),
    CLIENT + "client=require\n": ("syntax", "client= is what a server demands"),
    "role=server\nclient=maybe\n": ("syntax", "write require, request or ignore"),
    "role=server\nremote=.\nclient=ignore\n": ("syntax", "leave one of them out"),
    "role=server\nremote=.\nclient=request\n": ("syntax", "leave one of them out"),
    CLIENT + "starttls=smpt\n": ("syntax", "no protocol 'smpt'; did you mean smtp?"),
    CLIENT + "starttls=qqqq\n": ("syntax", "see 'tlstunnel --list-protocols'"),
    CLIENT + "alpn=\n": ("syntax", "alpn= is empty"),
    CLIENT + "alpn=h2,,http/1.1\n": ("syntax", "with one comma between them"),
    CLIENT + f"alpn={'h' * 256}\n": ("syntax", "longer than 255 bytes"),
    CLIENT + f"alpn={','.join(['h'] * 33)}\n": ("syntax", "more than 32 ids"),
    CLIENT + "minimum=1.1\n": ("syntax", "minimum=1.1 is not known; write 1.2 or 1.3"),
    CLIENT + "minimum=TLSv1.3\n": ("syntax", "write 1.2 or 1.3"),
    CLIENT + "timeout=0\n": ("syntax", "timeout=0 is no time; give whole seconds"),
    CLIENT + "timeout=-1\n": ("syntax", "is no time"),
    CLIENT + "timeout=1.5\n": ("syntax", "is no time"),
    CLIENT + "timeout=inf\n": ("syntax", "is no time"),
    CLIENT + "timeout=\u0661\n": ("syntax", "is no time"),
    CLIENT + "timeout=9999999\n": ("syntax", "is no time"),
    CLIENT + "plain=pipe\n": ("syntax", "write unix or tcp"),
    CLIENT + "starttls=ftp\n": ("syntax", "starttls=ftp has data connections"),
    "role=server\nstarttls=ftp\nplain=unix\n": ("syntax", "add plain=tcp"),
    CLIENT + "remote-id=a.test\n": ("syntax", "no field remote-id=; did you mean remote=?"),
    CLIENT + "start-tls=smtp\n": ("syntax", "did you mean starttls=?"),
    CLIENT + "q=1\n": ("syntax", "there is no field q=; there are role, remote, local"),
}


def fieldsOf(text: str) -> dict[str, str]:
    """
    What stands behind the verb.
    """
    return dict(read(("tls\n" + text).encode()).fields)


class RequestTests(SynchronousTestCase):
    """
    What is asked for.
    """

    def test_aRequestMeansWhatItSays(self) -> None:
        """
        All fields, each in one request at least.
        """
        for text, meant in REQUESTS.items():
            with self.subTest(text=text):
                self.assertEqual(requestOf(fieldsOf(text)), meant)
        mentioned = "".join(REQUESTS)
        for field in FIELDS:
            self.assertIn(f"{field}=", mentioned)

    def test_whoeverMakesAMistakeIsToldWhatToWrite(self) -> None:
        """
        Each has a sentence of its own.
        """
        for text, (reason, words) in MISTAKES.items():
            with self.subTest(text=text):
                refused = self.assertRaises(Refusal, requestOf, fieldsOf(text))
                self.assertEqual(refused.reason, reason)
                self.assertIn(words, refused.detail)

    @given(
        st.dictionaries(
            st.sampled_from(FIELDS),
            st.sampled_from(("client", "server", "-", ".", "require", "1.3", "tcp", "5", "smtp"))
            | st.text(max_size=30),
        )
    )
    def test_anythingIsARequestOrRefused(self, fields: dict[str, str]) -> None:
        """
        Nothing else is raised, and what is taken makes sense.
        """
        try:
            request = requestOf(fields)
        except Refusal as refused:
            self.assertTrue(refused.detail)
            return
        found = request.wanted
        if found.isClient:
            self.assertIsInstance(found.remote, Identity)
            self.assertIs(found.demand, Demand.IGNORE)
        else:
            self.assertFalse(found.isNobody)
            self.assertEqual(found.remote is not None, "remote" in fields)
        if found.isNobody:
            self.assertIsNone(found.local)

    def test_nothingThatIsEmptyLetsAnybodyIn(self) -> None:
        """
        A variable of a script that was not set is no permission.
        """
        for key in FIELDS:
            if key != "service":
                self.assertRaises(BadRequest, requestOf, {"role": "server", key: ""})
