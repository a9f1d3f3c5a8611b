"""The page that shows the API of the HTTP server, with Swagger UI: all that it loads is served from here."""

from functools import cache
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_OURS: Final = "service.rest.api_page"
_SWAGGER_UI: Final = "fastapi_swagger.resources"

# Each file by its path, with where it is from, and its media type.
_FILES: Final = {
    "/docs": (_OURS, "page.html", "text/html; charset=utf-8"),
    "/docs/page.css": (_OURS, "page.css", "text/css; charset=utf-8"),
    "/docs/page.js": (_OURS, "page.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui.css": (_SWAGGER_UI, "swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/swagger-ui.js": (_SWAGGER_UI, "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
}

_HEADERS: Final = {
    # Swagger UI's style sheet has its icons in itself, as data; nothing is fetched for them.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # A newer version's page is shown from its first minute on.
    "cache-control": "no-cache",
}


def routes() -> list[Route]:
    """The routes of the page and of what it loads."""
    return [Route(path, _serve) for path in _FILES]


async def _serve(request: Request) -> Response:
    content, media_type = _read(request.url.path)
    return Response(content, headers=_HEADERS | {"content-type": media_type})


@cache
def _read(path: str) -> tuple[bytes, str]:
    package, name, media_type = _FILES[path]
    return resources.files(package).joinpath(name).read_bytes(), media_type
