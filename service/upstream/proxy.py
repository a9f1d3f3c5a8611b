"""Finds the proxies of requests to providers: in the setting, or in the usual environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

DIRECT: Final = "none"
"""What `SEQSTEP_PROVIDER_PROXY` is set to for no proxy, whatever the environment says."""

LOOPBACK: Final = ("localhost", "localhost.", "127.0.0.0/8", "0.0.0.0", "::1", "::", "::ffff:127.0.0.0/104")  # noqa: S104
"""Hosts that no request goes to through a proxy: this machine, by all its names."""

_SETTING: Final = "SEQSTEP_PROVIDER_PROXY"
_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


class InvalidHttpSettings(Exception):
    """The proxy or the CA file of requests to providers cannot be used; the message says why, without the proxy's URL."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of requests to providers; without arguments, none.

    Attributes:
        http: The URL of the proxy for `http://`; empty for none.
        https: The URL of the proxy for `https://`; empty for none.
        no_proxy: Further hosts that are not asked through a proxy: names with all below them, addresses, networks.
        sources: The setting or the variables that name them.
    """

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def find(cls, setting: str, environment: Mapping[str, str]) -> "Proxies":
        """Finds the proxies to use.

        Args:
            setting: The value of `SEQSTEP_PROVIDER_PROXY`: one proxy for everything, `none`, or empty for what
                `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` say. `NO_PROXY` holds either way.
            environment: The process's environment; of a variable in both cases, the one in lower case counts.

        Raises:
            InvalidHttpSettings: One of them is no URL of a proxy.
        """
        if setting == DIRECT:
            return cls(sources=(_SETTING,))
        _, excluded = _variable(environment, "NO_PROXY")
        # `*.example.com` is how some write what others write as `.example.com` or `example.com`.
        no_proxy = tuple(host.removeprefix("*.") for part in excluded.split(",") if (host := part.strip()))
        if "*" in no_proxy:
            return cls()
        if setting:
            url = _checked(_SETTING, setting)
            return cls(url, url, no_proxy, (_SETTING,))
        found = {}
        for scheme in ("http", "https"):
            name, url = _variable(environment, f"{scheme.upper()}_PROXY")
            if not url:
                name, url = _variable(environment, "ALL_PROXY")
            if url:
                found[scheme] = (name, _checked(name, url))
        _, http = found.get("http", ("", ""))
        _, https = found.get("https", ("", ""))
        return cls(http, https, no_proxy, tuple(sorted({name for name, _ in found.values()})))

    def __str__(self) -> str:
        """What people are shown: without user and password."""
        if not (self.http or self.https):
            return "none"
        if self.http == self.https:
            shown = _without_user(self.https)
        else:
            shown = ", ".join(f"{_without_user(url)} for {scheme}" for scheme, url in self._by_scheme() if url)
        return f"{shown} (by {', '.join(self.sources)}), not for {', '.join(('this machine', *self.no_proxy))}"

    def _by_scheme(self) -> tuple[tuple[str, str], ...]:
        return ("http", self.http), ("https", self.https)


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The name and the value of a variable that people write in lower or in upper case."""
    for spelt in (name.lower(), name):
        if value := environment.get(spelt, "").strip():
            return spelt, value
    return name, ""


def _checked(name: str, url: str) -> str:
    """The URL, with a scheme.

    Raises:
        InvalidHttpSettings: It is none.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        good = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and full.isascii() and full.isprintable()
    except ValueError:
        good = False
    if not good or " " in full:
        raise InvalidHttpSettings(
            f"{name} is not the URL of a proxy; write http://[USER:PASSWORD@]HOST[:PORT], or https, socks5, socks5h"
        )
    return full


def _without_user(url: str) -> str:
    parts: SplitResult = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***@' if user else ''}{host}"
