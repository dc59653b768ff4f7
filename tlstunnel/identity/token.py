"""
Tokens, by PKCS#11: for the commands that make keys there and sign requests with them.  Tunnels
never come here; they use their keys through OpenSSL.

It takes python-pkcs11, an extra, C{tlstunnel[pkcs11]}.  A key in a token is made or taken, and
never replaced or removed.  The PIN is tried once, whatever comes of it: tokens count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tlstunnel.errors import ConfigurationError, printable
from tlstunnel.identity.keyprovider import checkModule
from tlstunnel.identity.tokenaddress import TokenAddress
from tlstunnel.identity.tokenkey import TokenECKey, TokenRSAKey

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib as Library  # noqa: N812
    from pkcs11.types import Session, Token

#: Bits of a new RSA key, where the token can do that.
RSA_BITS = 3072

# What can be wrong with a token before or when the PIN is tried, by the names of its flags, and of
# the library's exceptions.
_TRY_ELSEWHERE = "use the PIN once with another program, such as 'pkcs11-tool --login'"
_FLAGS = {
    "USER_PIN_LOCKED": ("has locked its PIN", "unlock it with the program of its maker"),
    "USER_PIN_FINAL_TRY": ("takes one more wrong PIN, and locks itself", _TRY_ELSEWHERE),
    "USER_PIN_TO_BE_CHANGED": ("wants another PIN first", "change it"),
}
_WORDS = {
    "PinIncorrect": ("has refused the PIN, which was tried once", "see whether it is right"),
    "PinLenRange": ("has refused the PIN for its length", "see whether it is right"),
    "PinInvalid": ("has refused the PIN for its characters", "see whether it is right"),
    "PinLocked": _FLAGS["USER_PIN_LOCKED"],
    "PinExpired": _FLAGS["USER_PIN_TO_BE_CHANGED"],
    "UserPinNotInitialized": ("has no PIN yet", "set one with the program of its maker"),
    "UserNotLoggedIn": ("wants a PIN for that", "give pin-source=file:/FILE"),
    "MechanismInvalid": ("cannot do that with such a key", "make another one"),
    "TokenWriteProtected": ("cannot be written to", "make the key with the program of its maker"),
    "DeviceMemory": ("is full", "remove what is not needed"),
    "DeviceRemoved": ("was taken out", "put it in again, and repeat the command"),
}


@dataclass(frozen=True)
class TokenKey:
    """
    A key pair in a token.

    @ivar address: what finds it again, whatever else comes into the token.
    @ivar signer: its private half, as long as the token is open.
    @ivar isNew: whether it was made just now.
    @ivar leaves: why it may be outside of the token as well, or one day; empty if it cannot.
    """

    address: TokenAddress
    signer: TokenECKey | TokenRSAKey
    isNew: bool
    leaves: str


@contextmanager
def openToken(
    module: Path, address: TokenAddress, askPIN: Callable[[str], str]
) -> Iterator[OpenToken]:
    """
    Open the token in which C{address} is.

    @param module: the PKCS#11 module that knows it.
    @param askPIN: gets the PIN of the token of that name; asked where the token has one.
    @raise ConfigurationError: there is no such token, or it does not let us; also for whatever
        goes wrong with it later.
    """
    try:
        import pkcs11
    except ImportError:
        raise ConfigurationError(
            "--token", "needs python-pkcs11, which is not there", "install tlstunnel[pkcs11]"
        ) from None
    with _speaking(str(address)):
        found = _find(_load(module), module, address)
        for name, (problem, remedy) in _FLAGS.items():
            if found.flags & pkcs11.TokenFlag[name]:
                raise ConfigurationError(str(address), f"the token {problem}", remedy)
        wanted = found.flags & pkcs11.TokenFlag.LOGIN_REQUIRED
        pin = askPIN(found.label) if wanted else None
        isWritable = not found.flags & pkcs11.TokenFlag.WRITE_PROTECTED
        with found.open(rw=isWritable, user_pin=pin) as session:
            yield OpenToken(session, address)


def _load(module: Path) -> Library:
    import pkcs11

    subject = str(module)
    if not module.is_file():
        raise ConfigurationError(subject, "is not there", "see where its package has put it")
    checked = checkModule(module)
    try:
        return pkcs11.lib(str(checked))
    except pkcs11.PKCS11Error as error:
        if type(error) is not pkcs11.PKCS11Error:
            raise ConfigurationError(
                subject,
                f"was loaded, and does not start ({type(error).__name__})",
                "see whether it finds its configuration, or for p11-kit-client.so whether the "
                "server lets in who has our primary group",
            ) from None
        said = printable(str(error).removeprefix(f"OS exception while loading {checked}: "))
        problem = f"is no PKCS#11 module that can be loaded ({said})"
        raise ConfigurationError(subject, problem, "see where its package has put it") from None


def _find(library: Library, module: Path, address: TokenAddress) -> Token:
    import pkcs11

    tokens = list(library.get_tokens(token_flags=pkcs11.TokenFlag.TOKEN_INITIALIZED))
    fitting = [
        each
        for each in tokens
        if address.token in (None, each.label)
        and address.serial in (None, each.serial.decode("utf-8", "replace"))
        and address.manufacturer in (None, each.manufacturer_id)
        and address.model in (None, each.model)
    ]
    if len(fitting) == 1:
        return fitting[0]
    labels = ", ".join(sorted({printable(each.label) or "one without a name" for each in tokens}))
    if fitting:
        problem = f"is in {len(fitting)} tokens"
        remedy = "add token= or serial=; 'pkcs11-tool --list-token-slots' shows them"
    elif tokens:
        problem = f"is in no token that is there; there are {labels}"
        remedy = "see whether its name is right"
    else:
        problem = f"is in no token, as {module} ({library.library_description}) shows none"
        remedy = "see whether it is plugged in, and who may use it"
        if "no connection" in library.library_description:
            remedy = "see whether 'p11-kit server' runs where P11_KIT_SERVER_ADDRESS says"
    raise ConfigurationError(str(address), problem, remedy)


@contextmanager
def _speaking(subject: str) -> Iterator[None]:
    """Say what tokens have against us in words."""
    import pkcs11

    try:
        yield
    except pkcs11.PKCS11Error as error:
        name = type(error).__name__
        problem, remedy = _WORDS.get(
            name, (f"has failed ({name})", "see the log of whoever keeps the token")
        )
        raise ConfigurationError(subject, f"the token {problem}", remedy) from None


class OpenToken:
    """A token whose keys can be used."""

    def __init__(self, session: Session, address: TokenAddress) -> None:
        self._session = session
        self._address = address

    def keyPair(self, isRSA: bool | None = None) -> TokenKey:
        """
        Find the key at the address; where there is none, make it.

        @param isRSA: which kind is wanted: RSA, or one for ECDSA on P-256; C{None}: whichever is
            there, or else the latter.
        @raise ConfigurationError: it is not good for TLS, or not the only one, or of another kind.
        """
        from pkcs11 import Attribute, KeyType, ObjectClass

        wanted: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
        if self._address.label is not None:
            wanted[Attribute.LABEL] = self._address.label
        if self._address.identifier is not None:
            wanted[Attribute.ID] = self._address.identifier
        found = list(self._session.get_objects(wanted))
        if len(found) > 1:
            raise self._wrong(
                f"is the address of {len(found)} keys", "add the id= of the one that is meant"
            )
        if not found:
            return self._make(bool(isRSA))
        kind = found[0][Attribute.KEY_TYPE]
        if isRSA and kind != KeyType.RSA:
            raise self._wrong("is there already, and no RSA key", "give another object=")
        return self._pair(found[0], isNew=False)

    def _make(self, isRSA: bool) -> TokenKey:
        from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag
        from pkcs11.util.ec import encode_named_curve_parameters

        label = self._address.label
        if not label:
            raise self._wrong("is not there", "give object=NAME, and it is made")
        common: dict[str, Any] = {
            "label": label,
            "id": self._address.identifier or os.urandom(20),
            "store": True,
            "capabilities": MechanismFlag.SIGN | MechanismFlag.VERIFY,
            "private_template": {
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
            },
        }
        if isRSA:
            slot = self._session.token.slot
            most = slot.get_mechanism_info(Mechanism.RSA_PKCS_KEY_PAIR_GEN).max_key_length
            bits = min(RSA_BITS, most or RSA_BITS)
            _, private = self._session.generate_keypair(KeyType.RSA, bits, **common)
        else:
            curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
            parameters = self._session.create_domain_parameters(KeyType.EC, curve, local=True)
            _, private = parameters.generate_keypair(**common)
        return self._pair(private, isNew=True)

    def _pair(self, private: Any, isNew: bool) -> TokenKey:
        from pkcs11 import Attribute, KeyType, Mechanism

        kind, identifier = private[Attribute.KEY_TYPE], private[Attribute.ID]
        if kind not in {KeyType.EC, KeyType.RSA}:
            raise self._wrong("is for neither ECDSA nor RSA", "give another object=")
        signer: TokenECKey | TokenRSAKey
        public = self._public(private, kind, identifier)
        if isinstance(public, ec.EllipticCurvePublicKey):
            signer = TokenECKey(
                public, lambda digest: private.sign(digest, mechanism=Mechanism.ECDSA)
            )
        else:
            signer = TokenRSAKey(
                public, lambda text: private.sign(text, mechanism=Mechanism.SHA256_RSA_PKCS)
            )
        if not _belongTogether(signer):
            raise self._wrong(
                "signs what its public half in the token does not verify",
                "see whether both have the same id",
            )
        address = replace(self._address, identifier=identifier or None)
        return TokenKey(address, signer, isNew, "" if isNew else _leaves(private))

    def _public(
        self, private: Any, kind: Any, identifier: bytes
    ) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        from pkcs11 import Attribute, KeyType, ObjectClass
        from pkcs11.util.ec import encode_ec_public_key

        if kind == KeyType.RSA:
            numbers = (private[each] for each in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
            return rsa.RSAPublicNumbers(*map(int.from_bytes, numbers)).public_key()
        wanted = {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: kind,
            Attribute.ID: identifier,
        }
        found = list(self._session.get_objects(wanted))
        if not found:
            raise self._wrong(
                "has no public half in the token", "let the program of its maker put it there"
            )
        try:
            public = load_der_public_key(encode_ec_public_key(found[0]))  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - whatever the token has there
            public = None
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise self._wrong("is on a curve that we do not know", "give another object=")
        return public

    def _wrong(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(str(self._address), problem, remedy)


def _belongTogether(key: TokenECKey | TokenRSAKey) -> bool:
    challenge = b"tlstunnel " + os.urandom(16)
    try:
        if isinstance(key, TokenECKey):
            algorithm = ec.ECDSA(SHA256())
            key.public_key().verify(key.sign(challenge, algorithm), challenge, algorithm)
        else:
            how = padding.PKCS1v15(), SHA256()
            key.public_key().verify(key.sign(challenge, *how), challenge, *how)
    except InvalidSignature:
        return False
    return True


def _leaves(private: Any) -> str:
    """Why a key that somebody else has put into a token may be elsewhere, too."""
    from pkcs11 import Attribute

    if private[Attribute.EXTRACTABLE]:
        return "whoever has the PIN can read it out of the token"
    if not private[Attribute.NEVER_EXTRACTABLE]:
        return "it was not made in the token, or could be read out of it once"
    return ""
