"""A process that ends in the middle of an update: what the history then says, and that the change can be taken back."""

import asyncio
import json
import signal
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from sandbox import seed
from service import app, providers
from service.connections import Keyring
from service.domain.credentials import ApiKeyCredentials, Secret
from service.domain.deadline import Deadline
from service.domain.step import Caller, Provider
from service.domain.step_changes import ChangeRevert, ChangesQuery, ChangeState
from service.history import History
from service.settings import Settings
from service.step_history import StepHistory
from service.update_step import UpdateStep
from tests.history.crashing_updates import STEPS
from tests.support.deployment import Deployment, prepared_deployment
from tests.support.plain_client import plain_client
from tests.support.processes import ROOT
from tests.support.service import outreach_grant

TIMES = 20
BODY = "<p>Hello {{first_name}},</p><p>Ünïcödé 🚀 &amp; more</p>"
APOLLO = (seed.APOLLO_SEQUENCE_INACTIVE, seed.APOLLO_STEP_INACTIVE_PLAIN)
OUTREACH = (str(seed.OUTREACH_SEQUENCE_DISABLED), str(seed.OUTREACH_STEP_DISABLED_PLAIN))
TEMPLATES = {
    "apollo": f"apollo/emailer_templates/{seed.APOLLO_TEMPLATE_INACTIVE_PLAIN}",
    "outreach": f"outreach/templates/{seed.OUTREACH_TEMPLATE_DISABLED_PLAIN}",
}


async def texts(deployment: Deployment, provider: str) -> tuple[str, str]:
    async with plain_client() as client:
        found = (await client.get(f"{deployment.sandbox.url}/_sandbox/{TEMPLATES[provider]}")).json()
    if provider == "apollo":
        return found["subject"], found["body_html"]
    return found["attributes"]["subject"], found["attributes"]["bodyHtml"]


@pytest.mark.slow
async def test_a_crash_at_any_step_leaves_the_truth_and_a_way_back(database_url: str) -> None:
    async with prepared_deployment(database_url) as deployment:
        for kind, credentials in (
            ("apollo", ApiKeyCredentials(Secret(seed.APOLLO_MASTER_KEY))),
            ("outreach", outreach_grant()),
        ):
            await deployment.connections().set(deployment.application_id, "acme", Provider(kind), credentials)
        # So many updates in a minute are more than an account may have.
        deployment.sandbox.state.reset()
        given = {name.removeprefix("SEQSTEP_").lower(): value for name, value in deployment.environment.items()}
        settings = Settings(
            **given | {name: SecretStr(given[name]) for name in ("database_url", "encryption_keys")}  # type: ignore[arg-type]
        )
        caller = Caller(deployment.application_id, "billing")
        history = History(deployment.store, Keyring.parse(deployment.keys), 30)
        async with app.provider_access(settings, deployment.store) as (connections, sessions):
            looking_back = StepHistory(history, UpdateStep(sessions, providers.unsupported(), connections, history))
            # Each provider by a process of its own, at once.
            await asyncio.gather(
                *(check_all(deployment, looking_back, caller, provider, given) for provider in TEMPLATES)
            )


async def check_all(
    deployment: Deployment, looking_back: StepHistory, caller: Caller, provider: str, given: dict[str, str]
) -> None:
    """Lets updates at a provider crash at each step, half of all times that updates do."""
    crashing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.history.crashing_updates"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    for number in range(TIMES // len(TEMPLATES) * len(STEPS)):
        await check(deployment, looking_back, caller, crashing, number, STEPS[number % len(STEPS)], provider, given)
    assert crashing.stdin is not None
    crashing.stdin.close()
    assert await crashing.wait() == 0


async def check(
    deployment: Deployment,
    looking_back: StepHistory,
    caller: Caller,
    crashing: asyncio.subprocess.Process,
    number: int,
    step: str,
    provider: str,
    given: dict[str, str],
) -> None:
    """Lets an update crash, and takes back what it left."""
    assert crashing.stdin is not None
    assert crashing.stdout is not None
    old, new = await texts(deployment, provider), (f"Subject {number}", f"{BODY}{number}")
    order: dict[str, Any] = {
        "step": step,
        "settings": given,
        "application_id": caller.application_id,
        "provider": provider,
        "ids": APOLLO if provider == "apollo" else OUTREACH,
        "record": {"subject": new[0], "body": new[1], "request_id": f"{provider}-{number}"},
    }
    crashing.stdin.write(json.dumps(order).encode() + b"\n")
    async with asyncio.timeout(20):
        assert int(await crashing.stdout.readline()) == signal.SIGKILL
    was_written = step in STEPS[2:]
    assert await texts(deployment, provider) == (new if was_written else old)
    query = ChangesQuery(Provider(provider), "acme", "", "", request_id=f"{provider}-{number}")
    found = (await looking_back.list(caller, query, Deadline.after(20))).changes
    if step == STEPS[0]:
        assert found == []
        return
    [change] = found
    assert change.state is (ChangeState.APPLIED if step == STEPS[3] else ChangeState.UNKNOWN)
    assert [(each.before, each.after) for each in change.fields or ()] == list(zip(old, new, strict=True))
    wanted = ChangeRevert(Provider(provider), "acme", change.change_id)
    reverted = await looking_back.revert(caller, wanted, Deadline.after(20))
    assert reverted.problems == ()
    assert bool(reverted.change_id) == was_written
    assert await texts(deployment, provider) == old
