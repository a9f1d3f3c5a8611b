"""Lists the stand-ins: how each one answers, where its URLs are, and what opens its main account."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox import apollo, outreach, seed
from sandbox.accounts import Account
from sandbox.messages import Answer, Call
from sandbox.state import State


@dataclass(frozen=True, slots=True)
class StandIn:
    """The stand-in for one provider.

    Attributes:
        handle: Answers a call below the provider's path.
        urls: Its paths below the sandbox's URL, by the name of the service's setting.
        credentials: What opens its main account, as ``seqstep connection set`` reads it.
        sequences_written: The sequences that a write locks until it is done, where the provider
            refuses another write meanwhile.
    """

    handle: Callable[[State, Call], Answer]
    urls: Mapping[str, str]
    credentials: Mapping[str, str]
    sequences_written: Callable[[Account, Call], set[str]] = lambda _account, _call: set()


STAND_INS: Mapping[str, StandIn] = {
    "apollo": StandIn(
        apollo.handle,
        {
            "base_url": f"/apollo{apollo.PREFIX}",
            "token_url": f"/apollo{apollo.PREFIX}/oauth/token",
        },
        {"api_key": seed.APOLLO_MASTER_KEY},
        apollo.sequences_written,
    ),
    "outreach": StandIn(
        outreach.handle,
        {"base_url": "/outreach"},
        {
            "access_token": seed.OUTREACH_ACCESS_TOKEN,
            "refresh_token": seed.OUTREACH_REFRESH_TOKEN,
            "client_id": seed.OUTREACH_CLIENT_ID,
            "client_secret": seed.OUTREACH_CLIENT_SECRET,
            "redirect_uri": seed.REDIRECT_URI,
        },
    ),
}


def provider_settings(sandbox_url: str) -> dict[str, str]:
    """Return the environment that lets a service call the stand-ins in place of the providers."""
    return {
        f"SEQSTEP_{provider}_{setting}".upper(): f"{sandbox_url}{path}"
        for provider, stand_in in STAND_INS.items()
        for setting, path in stand_in.urls.items()
    }
