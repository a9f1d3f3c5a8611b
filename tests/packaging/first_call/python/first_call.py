"""A program elsewhere that depends on seqstep-client."""

import os
import sys

from seqstep_client import Client, StepUpdate

with Client(os.environ["SEQSTEP_ADDRESS"], plaintext=True, api_key=os.environ["SEQSTEP_API_KEY"]) as client:
    update = StepUpdate(sequence_id="7", sequence_step_id="101", subject=sys.argv[1])
    for change in client.update_step(update, customer_id="acme", provider="outreach").changes:
        print(f"Changed {change.field}.")
