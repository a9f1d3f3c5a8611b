"""Reads a step, changes its subject, and says what became of it.

Against `make sandbox` and `make serve`:

    SEQSTEP_API_KEY="$(cat var/api-key)" .venv/bin/python clients/python/update_step.py --plaintext

Exit status: 0 changed, or nothing to change · 1 not applied · 2 wrong usage · 3 outcome unknown · 4 partially applied · 5 the call
was refused or the service cannot be reached, and nothing was changed.
"""

import argparse
import os
import sys
import traceback

from seqstep_client import (
    CallRefused,
    Client,
    InvalidArgument,
    NotApplied,
    PartiallyApplied,
    StepUpdate,
    Tls,
    UpdateFailed,
)

SEQUENCE, STEP = "7", "101"


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads a step and changes its subject.")
    parser.add_argument("address", nargs="?", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--plaintext", action="store_true", help="do without TLS, as for a service on this machine")
    parser.add_argument("--ca", metavar="PEM", help="the authorities to trust, in the place of those that gRPC brings")
    parser.add_argument("--certificate", metavar="PEM", help="a client certificate, with --private-key")
    parser.add_argument("--private-key", metavar="PEM")
    given = parser.parse_args()
    try:
        tls = None if given.plaintext else Tls.from_files(given.ca, given.certificate, given.private_key)
        client = Client(given.address, api_key=os.environ["SEQSTEP_API_KEY"], tls=tls, plaintext=given.plaintext)
    except KeyError:
        parser.error("SEQSTEP_API_KEY has to be set")
    except (InvalidArgument, OSError) as error:
        parser.error(str(error))
    with client:
        return change_subject(client, "Hello {{first_name}}")


def change_subject(client: Client, subject: str) -> int:
    """Writes only over what was read, and returns the exit status."""
    try:
        step = client.get_step(SEQUENCE, STEP, customer_id="acme", provider="outreach", with_bodies=False)
        # What is not given stays as it is; an empty string would empty it.
        update = StepUpdate(sequence_id=SEQUENCE, sequence_step_id=STEP, subject=subject, etag=step.etag)
        result = client.update_step(update, customer_id="acme", provider="outreach", timeout=10)
    except UpdateFailed as failure:
        for error in failure.errors:
            print(f"{error.code}: {error.detail or error.title}")
        for change in failure.changes:
            print(f"  before that, {change.field} became {change.after!r}")
        if failure.retry_after is not None:
            print(f"  repeat the call in {failure.retry_after:g} s")
        print(f"  {failure.outcome.name}; request id {failure.request_id}")
        return exit_status(failure)
    for change in result.changes:
        print(f"{change.field} is now {change.after!r}")
    for warning in result.warnings:
        print(f"{warning.problem_type}: {warning.detail}")
    return 0


def exit_status(failure: UpdateFailed) -> int:
    match failure:
        case CallRefused():
            return 5  # nothing was changed
        case NotApplied():
            return 1
        case PartiallyApplied():
            return 4  # repeating the call does the rest, once the error is dealt with
        case _:
            return 3  # repeating the call is safe and settles it


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001
        # Python itself would end with 1, which is that of "not applied".
        traceback.print_exc()
        sys.exit(3)
