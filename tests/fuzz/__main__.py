"""`python -m tests.fuzz`: runs a coverage-guided fuzzer in search of input that breaks an update.

What it finds is kept in a folder, and is where the next run begins; input that breaks something is written to a file
there, whose name is in the last lines that it prints.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import atheris
from engagement.v1 import sequence_step_service_pb2 as pb

with atheris.instrument_imports(include=["service", "tests.fuzz"]):
    from service.api.methods import GET_STEP, LIST_STEPS
    from service.domain.step import Provider
    from service.providers.adapter import ProviderResponse
    from tests.fuzz.targets import IDS, one_read, one_update, request_of, whole_metadata

_KEYS = ["x-customer-id", "x-provider-name", "x-request-id", "x-error-mode", "x-api-key"]
_STATUSES = [200, 200, 200, 201, 401, 403, 404, 422, 429, 500, 503, 302]
_CORPUS = (
    {
        "emailer_campaign": {"active": True},
        "emailer_steps": [{"id": "5f0000000000000000000201", "type": "auto_email"}],
        "emailer_touches": [
            {"emailer_step_id": "5f0000000000000000000201", "emailer_template_id": "a", "status": "approved"}
        ],
        "emailer_templates": [{"id": "a", "subject": "x"}],
    },
    {
        "data": [
            {
                "type": "sequenceTemplate",
                "id": 1,
                "attributes": {"enabled": True},
                "relationships": {"template": {"data": {"id": 9}}, "sequenceStep": {"data": {"id": 101}}},
            }
        ],
        "included": [{"type": "template", "id": 9, "attributes": {}}],
    },
    {"errors": [{"id": "validationError", "detail": "no", "source": {"pointer": "/data/attributes/subject"}}]},
)


def once(data: bytes) -> None:
    """One try."""
    given = atheris.FuzzedDataProvider(data)
    what = given.ConsumeIntInRange(0, 4)
    if what == 0:
        count = given.ConsumeIntInRange(0, 4)
        whole_metadata([(given.PickValueInList(_KEYS), given.ConsumeBytes(40)) for _ in range(count)])
        return
    provider = Provider("apollo") if given.ConsumeBool() else Provider("outreach")
    if what == 1:
        request = given.ConsumeBytes(200)
    else:
        text = given.ConsumeUnicodeNoSurrogates(20)
        request = request_of(provider, template={"subject": text, "body": text})
    headers = {"retry-after": given.ConsumeString(20), "content-type": given.ConsumeString(10)}
    status = given.PickValueInList(_STATUSES)
    first = ProviderResponse(status, headers, given.ConsumeBytes(given.remaining_bytes() // 4 * 3))
    second = ProviderResponse(given.PickValueInList(_STATUSES), headers, given.ConsumeBytes(given.remaining_bytes()))
    if what == 4:
        method = GET_STEP if given.ConsumeBool() else LIST_STEPS
        sequence, step = IDS[provider]
        ids = {"sequence_id": sequence} | ({"sequence_step_id": step} if method is GET_STEP else {})
        kind: Any = pb.GetStepRequest if method is GET_STEP else pb.ListStepsRequest
        one_read(provider, method, kind(**ids).SerializeToString(), [first, second])
    else:
        one_update(provider, request, [first, second])


def main() -> None:
    """Fuzzes for a while."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--folder", type=Path, default=Path("var/fuzz"), help="where what it finds is kept")
    options = parser.parse_args()
    corpus = options.folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(_CORPUS):
        # The fuzzer takes what it decides by from the end, and texts from the beginning.
        (corpus / f"seed-{number}").write_bytes(
            b"x" * 24 + json.dumps(answer).encode() + bytes(16) + bytes([number % 2, 2])
        )
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={options.seconds}",
            "-max_len=4096",
            "-timeout=20",
            f"-artifact_prefix={options.folder}/",
            str(corpus),
        ],
        once,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
