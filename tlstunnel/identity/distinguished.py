"""
The names of subjects and issuers in one line, as stunnel tells them to programs: the parts in their
order, C{C=PL, O="Example, Ltd.", CN=client}, with the short names of OpenSSL.

Whatever is in such a name, the line can be taken apart again, and nothing in it is a control
character.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

# What OpenSSL calls them; all others have their number.
_SHORT = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.GIVEN_NAME: "GN",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.USER_ID: "UID",
}

# What a value has only between quotation marks, which are escaped (RFC 2253, section 2.4).
_SPECIAL = frozenset(",+<>;")


def inOneLine(name: x509.Name) -> str:
    """
    Write C{name}.
    """
    return ", ".join(
        " + ".join(f"{_kind(each)}={_value(each)}" for each in part) for part in name.rdns
    )


def _kind(attribute: x509.NameAttribute[str | bytes]) -> str:
    return _SHORT.get(attribute.oid, attribute.oid.dotted_string)


def _value(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    if isinstance(value, bytes):
        # It is no text: as what it is made of (RFC 2253, section 2.4).
        return f"#{value.hex().upper()}"
    isQuoted = (
        bool(_SPECIAL.intersection(value))
        or value[-1:] == " "
        or (len(value) > 1 and value[0] in " #")
    )
    written = "".join(map(_character, value))
    return f'"{written}"' if isQuoted else written


def _character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "replace"))
