"""The description of the HTTP door in OpenAPI 3.1, made from the tables that it is served by."""

from collections.abc import Mapping
from typing import Any, Final

from service.domain.errors import CODES
from service.domain.step import WARNINGS
from service.domain.validation import MAX_ID_CHARACTERS, MAX_SUBJECT_CHARACTERS
from service.providers import providers
from service.rest.schemas import ORIGINS, OUTCOMES

PATH: Final = "/sequences/{sequence_id}/sequence_steps/{sequence_step_id}"
PREFIXES: Final = ("", "/engagement/v2")
"""What the path can have before it."""

Schema = dict[str, Any]

_ID: Final = r"^(?!\.{1,2}$)[A-Za-z0-9._~-]+$"
_HEADER_VALUE: Final = r"^[ -~]*[!-~][ -~]*$"

_UPDATED: Final = "Sequence step updated"


def document() -> Schema:
    """The document that `/openapi.json` serves."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Update Sequence Step",
            "version": "2",
            "description": "Changes one step of one sequence at a sales-engagement provider. The same as "
            "`engagement.v1.SequenceStepService/UpdateStep` over gRPC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"api_key": []}],
        "paths": {
            **{f"{prefix}{PATH}": _path(prefix) for prefix in PREFIXES},
            "/healthz": _plain("Whether the process is alive", "healthz", {200: "It is."}),
            "/readyz": _plain(
                "Whether calls are welcome", "readyz", {200: "They are.", 503: "The server starts or stops."}
            ),
            "/metrics": _metrics(),
            "/openapi.json": _plain("This document", "openapi", {200: "This document."}),
        },
        "components": {
            "schemas": _schemas(),
            "responses": {"Envelope": _response("The update failed, or the call was refused.")},
            "securitySchemes": {
                "api_key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The key of the calling application. A client certificate can stand for it.",
                }
            },
        },
    }


def _path(prefix: str) -> Schema:
    statuses = sorted({spec.http_status for spec in CODES.values()})
    return {
        "patch": {
            "summary": "Update sequence step",
            "description": "Changes what the record names and leaves the rest alone. Repeating a call is always safe. Works "
            "for Apollo and Outreach; Salesloft answers `NOT_IMPLEMENTED_ERROR`.",
            "operationId": f"updateSequenceStep{'V2' if prefix else ''}",
            "parameters": [
                _id("sequence_id", "The provider's id of the sequence."),
                _id("sequence_step_id", "The provider's id of the step."),
                _header("x-customer-id", "Your own id of the customer.", required=True),
                {
                    **_header("x-provider-name", "The provider's name.", required=True),
                    "schema": {"type": "string", "enum": list(providers())},
                },
                _header("x-request-id", "Comes back in the answer and is logged; made when absent.", required=False),
                {
                    "name": "validate_only",
                    "in": "query",
                    "description": "Do everything but the write: the answer tells what would change.",
                    "schema": {"type": "boolean", "default": False},
                },
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/UpdateSequenceStep"}}},
            },
            "responses": {
                "200": _response(_UPDATED),
                **{str(status): {"$ref": "#/components/responses/Envelope"} for status in statuses},
            },
        }
    }


def _id(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARACTERS, "pattern": _ID},
    }


def _header(name: str, description: str, *, required: bool) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _HEADER_VALUE},
    }


def _response(description: str) -> Schema:
    return {
        "description": description,
        "headers": {
            "x-request-id": {"description": "The id of the call.", "required": True, "schema": {"type": "string"}},
            "retry-after": {
                "description": "Seconds after which the same call can succeed, if they are known.",
                "schema": {"type": "integer", "minimum": 0},
            },
        },
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Envelope"}}},
    }


def _plain(summary: str, operation: str, answers: Mapping[int, str]) -> Schema:
    return {
        "get": {
            "summary": summary,
            "operationId": operation,
            "security": [],
            "responses": {
                str(status): {
                    "description": description,
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
                for status, description in answers.items()
            },
        }
    }


def _metrics() -> Schema:
    return {
        "get": {
            "summary": "Metrics for Prometheus, of all workers",
            "operationId": "metrics",
            "security": [],
            "responses": {
                "200": {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}
            },
        }
    }


def _schemas() -> Schema:
    text: Schema = {"type": "string"}
    statuses = {str(spec.http_status) for spec in CODES.values()}
    return {
        "UpdateSequenceStep": _object(
            {"record": {"$ref": "#/components/schemas/Record"}}, "The change.", required=("record",)
        ),
        "Record": _object(
            {
                "template": {"$ref": "#/components/schemas/Template"},
                "custom_fields": {
                    "type": "object",
                    "description": "Fields of the provider's own step resource, by the provider's own names; at most 64 KiB, "
                    "nested at most 16 levels deep.",
                },
            },
            "The values to set. What is absent stays as it is; an empty string is a value.",
        ),
        "Template": _object(
            {
                "subject": {
                    **text,
                    "maxLength": MAX_SUBJECT_CHARACTERS,
                    "description": "The subject, in one line.",
                },
                "body": {**text, "description": "The body, in HTML; at most 5 MiB in UTF-8."},
            },
            "The email or message template that the step sends.",
        ),
        "Envelope": _object(
            {
                "errors": _list_of("Error", "Why the update failed. Empty when it succeeded."),
                "warnings": _list_of("Warning", "What else the caller should know."),
                "changes": _list_of("FieldChange", "What was changed, or would be with `validate_only`."),
            },
            "What became of an update.",
            required=("errors", "warnings", "changes"),
        ),
        "Error": _object(
            {
                "id": {
                    **text,
                    "format": "uuid",
                    "description": "Names this very occurrence; quote it when asking for help.",
                },
                "detail": {**text, "description": "What happened and what to do about it, for a person."},
                "problem_type": {**text, "deprecated": True, "description": "The same as `code`."},
                "title": {**text, "description": "A few words."},
                "code": {
                    **text,
                    "examples": [code.value for code in CODES],
                    "description": "The stable name of this kind of error; the list may grow.",
                },
                "status": {
                    **text,
                    "examples": sorted(statuses),
                    "description": "The HTTP status of the code, in decimal.",
                    "pattern": "^[1-5][0-9]{2}$",
                },
                "meta": {"$ref": "#/components/schemas/ErrorMeta"},
            },
            "One thing that went wrong.",
            required=("id", "detail", "problem_type", "title", "code", "status", "meta"),
        ),
        "ErrorMeta": _object(
            {
                "cause": {"$ref": "#/components/schemas/ErrorCause"},
                "origin": {**text, "enum": list(ORIGINS), "description": "Who found fault with the call."},
                "application_name": {**text, "description": "The calling application; empty when it is unknown."},
                "outcome": {
                    **text,
                    "enum": list(OUTCOMES),
                    "description": "What the step looks like after the failure.",
                },
                "retry_after": {
                    "type": "number",
                    "minimum": 0,
                    "description": "Seconds to wait before the same call can succeed, if they are known.",
                },
                "request_id": {**text, "description": "The id of the call."},
            },
            "Facts about an error, for programs.",
            required=("origin", "application_name", "outcome", "request_id"),
        ),
        "ErrorCause": _object(
            {
                "code": {"type": "integer", "description": "The HTTP status of the provider's answer."},
                "body": {"description": "Its JSON as it came, or a string."},
                "headers": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "Its headers, without cookies and credentials.",
                },
            },
            "What the provider answered.",
            required=("code", "body", "headers"),
        ),
        "Warning": _object(
            {
                "detail": {**text, "description": "What is the case, for a person."},
                "problem_type": {
                    **text,
                    "examples": [warning.value for warning in WARNINGS],
                    "description": "The stable name of this kind of warning; the list may grow.",
                },
                "title": {**text, "description": "A few words."},
            },
            "Something that the caller should know about an update that did not fail for it.",
            required=("detail", "problem_type", "title"),
        ),
        "FieldChange": _object(
            {
                "field": {**text, "description": "`template.subject`, `template.body` or `custom_fields.KEY`."},
                "before": {"description": "What the provider held."},
                "after": {"description": "What it holds now, or would hold."},
            },
            "One value that was changed, or would be.",
            required=("field", "before", "after"),
        ),
    }


def _object(properties: Mapping[str, Schema], description: str, required: tuple[str, ...] = ()) -> Schema:
    schema: Schema = {"type": "object", "description": description, "properties": dict(properties)}
    return schema | ({"required": list(required)} if required else {})


def _list_of(name: str, description: str) -> Schema:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}, "description": description}
