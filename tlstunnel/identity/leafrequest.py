"""
What a tunnel and an agent say to each other: a question and its answer, one after the other.

Each is a message: its length in four bytes, and so many bytes.  The question is the identity in
UTF-8, a zero, and a request for a certificate (RFC 2986) in DER.  The answer is one byte, and
behind it certificates in PEM, the new one first, or words for people.  Who has answered closes, or
lets the other one stay for the next question.

Of the request the key alone counts, and that whoever asks has it: names in it are nobody's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tlstunnel.identity.certificates import commonName
from tlstunnel.identity.names import Identity
from tlstunnel.identity.pem import quietly

#: Bytes of a question, at most.
LARGEST_QUESTION = 8 << 10

#: Bytes of an identity, at most: a SPIFFE ID may have as many.
LONGEST_NAME = 2048

#: Bytes of an answer, at most.
LARGEST_ANSWER = 64 << 10

#: Characters of what is said to people, at most.
LONGEST_WORDS = 400

_LENGTH_BYTES = 4


class Unreadable(ValueError):
    """
    What was received is nothing that may be sent; the message says why.
    """


class Reading:
    """
    One message, as it comes.

    @ivar content: it, once it is there as a whole.
    """

    def __init__(self, largest: int) -> None:
        """
        @param largest: the most bytes that it may have.
        """
        self.content: bytes | None = None
        self._largest = largest
        self._received = bytearray()

    def take(self, data: bytes) -> None:
        """
        Read on.

        @raise Unreadable: it is too large, empty, or more than one.
        """
        if self.content is not None:
            raise Unreadable("there is more than one message")
        self._received += data
        if len(self._received) < _LENGTH_BYTES:
            return
        length = int.from_bytes(self._received[:_LENGTH_BYTES])
        if not 0 < length <= self._largest:
            raise Unreadable(f"a message has {length} bytes, and may have {self._largest}")
        there = len(self._received) - _LENGTH_BYTES
        if there > length:
            raise Unreadable("there is more than one message")
        if there == length:
            self.content = bytes(self._received[_LENGTH_BYTES:])


def message(content: bytes) -> bytes:
    """
    C{content} as it is sent.
    """
    return len(content).to_bytes(_LENGTH_BYTES) + content


@dataclass(frozen=True)
class Question:
    """
    A certificate is wanted.

    @ivar identity: whom it is to be for.
    @ivar key: the key to certify, which whoever asks has.
    """

    identity: Identity
    key: CertificatePublicKeyTypes

    @classmethod
    def parse(cls, content: bytes) -> Question:
        """
        Read one.

        @raise Unreadable: it is none, or the key is not that of whoever asks, or none that we
            certify.
        """
        name, zero, request = content.partition(b"\0")
        if not zero:
            raise Unreadable("the question has no request")
        if len(name) > LONGEST_NAME:
            raise Unreadable("the identity is too long")
        try:
            identity = Identity.parse(name.decode())
        except UnicodeDecodeError:
            raise Unreadable("the identity is not in UTF-8") from None
        except ValueError as error:
            raise Unreadable(str(error)) from None
        key, isTheirs = _keyIn(request)
        if not isTheirs:
            raise Unreadable("the request is not signed by the key in it")
        return cls(identity, key)


def _keyIn(request: bytes) -> tuple[ec.EllipticCurvePublicKey, bool]:
    """
    The key in a request, and whether it has signed that.

    @raise Unreadable: it is none, or has a key of a kind that is not for us, and could be of any
        size.
    """
    try:
        found = x509.load_der_x509_csr(request)
        key = found.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key, found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion):
        raise Unreadable("the request cannot be read") from None
    raise Unreadable("the request has a key of another kind than ECDSA with P-256")


def question(identity: Identity, key: ec.EllipticCurvePrivateKey) -> bytes:
    """
    Ask for a certificate.
    """
    request = x509.CertificateSigningRequestBuilder().subject_name(commonName("tlstunnel"))
    return str(identity).encode() + b"\0" + request.sign(key, SHA256()).public_bytes(Encoding.DER)


class Verdict(enum.Enum):
    """
    What an answer is: certificates; no; or not now, which is worth another try at once.
    """

    ISSUED = b"+"
    REFUSED = b"-"
    BUSY = b"~"


@dataclass(frozen=True)
class Answer:
    """
    What an agent says.

    @ivar chain: the certificates.
    @ivar words: instead, why there are none.
    """

    verdict: Verdict
    chain: tuple[x509.Certificate, ...] = ()
    words: str = ""

    @classmethod
    def parse(cls, content: bytes) -> Answer:
        """
        Read one.

        @raise Unreadable: it is none.
        """
        try:
            verdict = Verdict(content[:1])
        except ValueError:
            raise Unreadable("the answer begins with nothing that we know") from None
        if verdict is not Verdict.ISSUED:
            words = content[1:].decode("utf-8", "replace")[:LONGEST_WORDS]
            return cls(
                verdict, words="".join(each if each.isprintable() else "?" for each in words)
            )
        try:
            with quietly():
                return cls(verdict, tuple(x509.load_pem_x509_certificates(content[1:])))
        except (ValueError, x509.InvalidVersion):
            raise Unreadable("the answer has certificates that cannot be read") from None

    def written(self) -> bytes:
        """
        The answer, as it is sent.
        """
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)
        return self.verdict.value + (chain or self.words[:LONGEST_WORDS].encode())
