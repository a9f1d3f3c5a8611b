"""A call whose first attempt is carried out by a replica that then dies, so that it is made again elsewhere."""

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

from sandbox import seed
from tests.support.deployment import Deployment
from tests.support.plain_client import plain_client
from tests.support.processes import ServerProcess
from tests.support.waiting import until

SUBJECT = "Written by the first attempt"
TEMPLATE = f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}"
RATE_LIMITED = {
    "status": 429,
    "body": {
        "message": "The maximum number of api calls allowed for api/v1/emailer_campaigns/show is 400 times per hour."
    },
    "headers": {"retry-after": "120"},
}


async def stored_subject(deployment: Deployment) -> str:
    """What Apollo holds now."""
    async with plain_client() as client:
        answer = await client.get(
            f"{deployment.sandbox.url}/_sandbox/{TEMPLATE}", params={"account": seed.APOLLO_UNLIMITED_ACCOUNT}
        )
    subject: str = answer.raise_for_status().json()["subject"]
    return subject


async def die_after_the_write(
    deployment: Deployment, calling: "asyncio.Task[Any]", replicas: Sequence[ServerProcess], *, then: dict[str, Any]
) -> None:
    """Kills the replicas that serve the call once Apollo has carried out its write, which it does not answer.

    Args:
        deployment: What the replicas serve.
        calling: The call, begun after `never_answer_writes`.
        replicas: Those that may serve it; others stay.
        then: The fault of the reads that follow.
    """
    sandbox = deployment.sandbox
    await until(lambda: calling.done() or any(call["method"] == "PUT" for call in sandbox.calls("apollo")), seconds=90)
    while await stored_subject(deployment) != SUBJECT:  # noqa: ASYNC110  # the sandbox tells no other way
        await asyncio.sleep(0.01)
    sandbox.order_fault(provider="apollo", method="GET", times=None, **then)
    for replica in replicas:
        replica.process.send_signal(signal.SIGKILL)


def never_answer_writes(deployment: Deployment) -> None:
    """Lets Apollo carry out the next write, and not answer it."""
    deployment.sandbox.order_fault(provider="apollo", method="PUT", when="after", hang=True)
