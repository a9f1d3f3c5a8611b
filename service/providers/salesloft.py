"""Salesloft: known, and not supported.

Fact (May 2026): the steps of its cadences are read-only, and cadences are changed by `cadence_imports` only. It publishes
`PUT /v2/email_templates/{id}`, but no way from a step to its template.
"""

from typing import ClassVar

from service.domain.credentials import Credentials
from service.domain.step import Provider
from service.providers.adapter import UrlSettings


class Salesloft:
    """States that an update is not supported; Salesloft is never called, and no connection is needed to say so."""

    provider: ClassVar[Provider] = Provider("salesloft")
    credential_kinds: ClassVar[tuple[type[Credentials], ...]] = ()
    urls: ClassVar[UrlSettings] = {}
    unsupported: ClassVar[str] = (
        "Salesloft has no operation that changes the template of one step, so nothing was changed and nothing was asked of "
        "it. Change the step in Salesloft itself."
    )
