"""What providers do, one module each. The registry has one line for each of them."""

from collections.abc import Callable, Mapping
from typing import Final

from service.domain.credentials import Credentials
from service.domain.step import Provider
from service.providers.adapter import KnownProvider, ProviderAdapter
from service.providers.apollo import Apollo
from service.providers.outreach import Outreach
from service.providers.salesloft import Salesloft

REGISTRY: Final[tuple[type[KnownProvider], ...]] = (
    Apollo,
    Outreach,
    Salesloft,
)
"""Every provider that callers can name, in the order in which they are listed."""


def providers() -> Mapping[str, Provider]:
    """Every provider that callers can name, by that name."""
    return {str(known.provider): known.provider for known in REGISTRY}


def supported() -> Mapping[Provider, type[ProviderAdapter]]:
    """The providers that can be updated."""
    return {known.provider: known for known in REGISTRY if not known.unsupported}  # type: ignore[misc]  # then it is one


def unsupported() -> Mapping[Provider, str]:
    """Why each of the other providers cannot be updated."""
    return {known.provider: known.unsupported for known in REGISTRY if known.unsupported}


def credential_kinds(provider: Provider) -> tuple[type[Credentials], ...]:
    """The types of credentials that a provider takes; none where nothing can be updated."""
    return {known.provider: known.credential_kinds for known in REGISTRY}.get(provider, ())


def adapters(url: Callable[[Provider, str], str]) -> Mapping[Provider, ProviderAdapter]:
    """The adapters of all providers that can be updated.

    Args:
        url: Gives the URL of a provider by its name in the adapter's `urls`.
    """
    return {
        provider: adapter(**{name: url(provider, name) for name in adapter.urls})
        for provider, adapter in supported().items()
    }
