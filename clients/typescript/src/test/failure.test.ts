import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { outcomeOf } from "../failure.js";
import { ErrorOutcome, ErrorSchema } from "../gen/engagement/v1/envelope_pb.js";

const { NOT_APPLIED, PARTIALLY_APPLIED, UNKNOWN, UNSPECIFIED } = ErrorOutcome;

function outcome(...outcomes: ErrorOutcome[]) {
  return outcomeOf(outcomes.map((each) => create(ErrorSchema, { meta: { outcome: each } })));
}

test("not applied is what all errors say", () => {
  assert.equal(outcome(NOT_APPLIED), "NOT_APPLIED");
  assert.equal(outcome(NOT_APPLIED, NOT_APPLIED), "NOT_APPLIED");
  assert.equal(outcome(NOT_APPLIED, PARTIALLY_APPLIED, NOT_APPLIED), "PARTIALLY_APPLIED");
});

test("one that does not know outweighs the others", () => {
  for (const unknown of [UNKNOWN, UNSPECIFIED, 99 as ErrorOutcome]) {
    assert.equal(outcome(NOT_APPLIED, PARTIALLY_APPLIED, unknown), "UNKNOWN");
    assert.equal(outcome(unknown, PARTIALLY_APPLIED), "UNKNOWN");
  }
  assert.equal(outcomeOf([create(ErrorSchema), create(ErrorSchema, { meta: { outcome: NOT_APPLIED } })]), "UNKNOWN");
  assert.equal(outcome(), "UNKNOWN");
});
