"""The names of client certificates, each with its type, as applications are mapped to them.

A DNS name is written as it is, `billing.internal`; other names have their type before them: `URI:spiffe://prod/billing`,
`email:billing@example.com`, `IP:10.0.0.7`. A common name counts like a DNS name, but only in a certificate without
alternative names (RFC 6125, 6.4.4).
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

_MAX_CHARACTERS: Final = 255

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS: Final = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+", re.ASCII | re.IGNORECASE)
_EMAIL: Final = re.compile(r"[!-?A-~]+@[!-?A-~]+", re.ASCII)
# A common name is no host name by rule; a colon in it could make it pass for a name of another type.
_COMMON: Final = re.compile(r"[^:@]+")


class InvalidName(ValueError):
    """A text is no name that a certificate can have; the message says why."""


def parse_name(text: str) -> str:
    """The one way to write a name that people gave, with its type.

    Raises:
        InvalidName: It is none.
    """
    kind, colon, value = text.partition(":")
    match kind.lower() if colon else "":
        case "uri":
            name = _uri(value)
        case "email":
            name = _email(value)
        case "ip":
            name = _ip(value)
        case _ if "://" in text:
            name = _uri(text)
        case _ if "@" in text:
            name = _email(text)
        case _:
            name = _ip(text) or _dns(text) or _common(text)
    if name is None:
        raise InvalidName(
            "the name of a certificate has at most 255 visible characters: a DNS name, URI:…, email:…, IP:… or, for "
            "certificates without alternative names, a common name without : and @"
        )
    return name


@lru_cache(maxsize=1024)
def certificate_names(certificate: bytes) -> tuple[str, ...]:
    """The names of a client certificate that TLS has verified.

    Args:
        certificate: The certificate, PEM or DER.

    Returns:
        Its alternative names or, if it has no such extension, its common name. What is no proper name, such as one with a
        zero byte in it, is passed over; so is all of a certificate that cannot be read.
    """
    try:
        if certificate.startswith(b"-----"):
            parsed = x509.load_pem_x509_certificate(certificate)
        else:
            parsed = x509.load_der_x509_certificate(certificate)
        found = [extension for extension in parsed.extensions if extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME]
        if found:
            names = [_alternative(name) for extension in found for name in extension.value]
        else:
            common = [str(each.value) for each in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            names = [_dns(each) or _common(each) for each in common] if len(common) == 1 else []
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ()
    return tuple(dict.fromkeys(name for name in names if name))


def _alternative(name: x509.GeneralName) -> str | None:
    match name:
        case x509.DNSName():
            return _dns(name.value)
        case x509.UniformResourceIdentifier():
            return _uri(name.value)
        case x509.RFC822Name():
            return _email(name.value)
        case x509.IPAddress():
            return _ip(str(name.value))
        case _:
            return None


def _dns(text: str) -> str | None:
    name = text.lower().removesuffix(".")
    return name if len(name) <= _MAX_CHARACTERS and _DNS.fullmatch(name) and not _ip(name) else None


def _uri(text: str) -> str | None:
    name = f"URI:{text}"
    return name if len(name) <= _MAX_CHARACTERS and _URI.fullmatch(text) else None


def _email(text: str) -> str | None:
    user, _, host = text.rpartition("@")
    name = f"email:{user}@{host.lower()}"
    return name if len(name) <= _MAX_CHARACTERS and _EMAIL.fullmatch(text) else None


def _ip(text: str) -> str | None:
    try:
        return f"IP:{ipaddress.ip_address(text)}"
    except ValueError:
        return None


def _common(text: str) -> str | None:
    is_name = len(text) <= _MAX_CHARACTERS and text.isprintable() and _COMMON.fullmatch(text) and text == text.strip()
    return text.lower() if is_name and not _ip(text) else None
