"""The statuses of error codes, as the contract has them."""

import pytest

from service.domain.errors import CODES, ErrorCode


@pytest.mark.parametrize(
    ("code", "http", "grpc"),
    [
        ("BAD_REQUEST", 400, "INVALID_ARGUMENT"),
        ("VALIDATION_ERROR", 400, "INVALID_ARGUMENT"),
        ("UNAUTHORIZED_ERROR", 401, "UNAUTHENTICATED"),
        ("PAYMENT_REQUIRED_ERROR", 402, "FAILED_PRECONDITION"),
        ("FORBIDDEN_ERROR", 403, "PERMISSION_DENIED"),
        ("NOT_FOUND_ERROR", 404, "NOT_FOUND"),
        ("CONFLICT_ERROR", 409, "ABORTED"),
        ("UNPROCESSABLE_ENTITY_ERROR", 422, "FAILED_PRECONDITION"),
        ("TOO_MANY_REQUESTS_ERROR", 429, "RESOURCE_EXHAUSTED"),
        ("INTERNAL_SERVER_ERROR", 500, "INTERNAL"),
        ("NOT_IMPLEMENTED_ERROR", 501, "UNIMPLEMENTED"),
        ("BAD_GATEWAY_ERROR", 502, "UNKNOWN"),
        ("SERVICE_UNAVAILABLE_ERROR", 503, "UNAVAILABLE"),
        ("GATEWAY_TIMEOUT_ERROR", 504, "DEADLINE_EXCEEDED"),
        ("METHOD_NOT_ALLOWED_ERROR", 405, "UNIMPLEMENTED"),
        ("VARIANT_NOT_FOUND_ERROR", 404, "NOT_FOUND"),
        ("STEP_CHANGED_ERROR", 412, "ABORTED"),
        ("SHARED_TEMPLATE_ERROR", 412, "FAILED_PRECONDITION"),
        ("RESPONSE_TOO_LONG_ERROR", 422, "FAILED_PRECONDITION"),
        ("REMOTE_PROVIDER_ERROR", 499, "UNKNOWN"),
    ],
)
def test_a_code_has_its_statuses(code: str, http: int, grpc: str) -> None:
    spec = CODES[ErrorCode(code)]
    assert (spec.http_status, spec.grpc_status) == (http, grpc)
