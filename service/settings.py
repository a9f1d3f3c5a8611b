"""Every setting of the service: one field each, read from the environment as `SEQSTEP_` and its name in capitals."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, create_model, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.providers import REGISTRY


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    CONSOLE = "console"


def _check_url(value: str) -> str:
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and url.hostname and value.isascii() and value.isprintable()
        good = good and url.port != 0 and not (" " in value or "@" in url.netloc or "?" in value or "#" in value)
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be http://HOST[:PORT][/PATH] or the same with https, without user, query and fragment")
    return value


Seconds = Annotated[float, Field(gt=0)]
Url = Annotated[str, AfterValidator(_check_url)]


if TYPE_CHECKING:
    _ProviderUrls = BaseSettings
else:
    # Each adapter states its URLs, so that a new provider needs no line here.
    _ProviderUrls = create_model(
        "_ProviderUrls",
        __base__=BaseSettings,
        **{
            f"{known.provider}_{name}": (Url, Field(url.default, description=url.description))
            for known in REGISTRY
            for name, url in known.urls.items()
        },
    )


class Settings(_ProviderUrls):
    """The settings of a process. docs/settings.md is tested against the descriptions here."""

    model_config = SettingsConfigDict(env_prefix="SEQSTEP_", frozen=True, extra="ignore", hide_input_in_errors=True)

    grpc_address: str = Field("127.0.0.1:50051", description="Where the gRPC server listens, as HOST:PORT.")
    http_address: str = Field(
        "127.0.0.1:8080", description="Where the HTTP server listens, as HOST:PORT; empty for none."
    )
    api_page: bool = Field(
        True, description="Show the API of the HTTP server to people, on `/docs`; it says what `/openapi.json` says."
    )
    admin_address: str = Field(
        "",
        description="Where `/healthz`, `/readyz` and `/metrics` are served in plaintext and without client certificates, as "
        "HOST:PORT; empty for none. It needs no TLS, since no keys are sent to it.",
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that serve, each on the same address.")
    batch_scheduling: bool = Field(
        True,
        description="Let no thread of the service interrupt another one of it when it has something to do (Linux's "
        "`SCHED_BATCH`), which takes a fifth less CPU. Without it, a worker waits less for a processor that other busy programs "
        "use.",
    )

    database_url: SecretStr = Field(
        SecretStr("sqlite:///seqstep.sqlite3"),
        description="The store: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`, with libpq's parameters, and "
        "`pgbouncer=true` behind a pooler in transaction mode.",
    )
    database_url_file: Path | None = Field(None, description="A file with `SEQSTEP_DATABASE_URL`, in its place.")
    database_max_connections: int = Field(
        10, ge=1, le=1000, description="Connections to PostgreSQL that each worker opens at most."
    )
    encryption_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys that encrypt credentials, made by `seqstep keygen`, separated by commas. The first one encrypts, "
        "all of them decrypt.",
    )
    encryption_keys_file: Path | None = Field(None, description="A file with `SEQSTEP_ENCRYPTION_KEYS`, in its place.")
    cache_seconds: float = Field(
        5.0, ge=0, le=60, description="How long decrypted connections and API keys are kept in memory at most."
    )
    history_days: float = Field(
        0.0,
        ge=0,
        le=3660,
        description="How long each change that an update makes is kept, encrypted, to be listed and taken back; 0 keeps none.",
    )
    token_refresh_margin_seconds: float = Field(
        300.0, ge=0, description="How long before its end an OAuth access token is renewed."
    )

    default_deadline_seconds: Seconds = Field(30.0, description="The deadline of a call whose caller sets none.")
    max_deadline_seconds: Seconds = Field(60.0, description="The longest deadline that a call can have.")
    provider_connect_timeout_seconds: Seconds = Field(5.0, description="Longest wait for a connection to a provider.")
    provider_pool_timeout_seconds: Seconds = Field(
        5.0, description="Longest wait, beside that, for one of the open connections to a provider when all are in use."
    )
    provider_read_timeout_seconds: Seconds = Field(
        20.0, description="Longest wait for the head of a provider's answer, and for each further part of it."
    )
    provider_max_connections: int = Field(
        200,
        ge=1,
        description="Connections to one provider in use at a time, for each worker; as many are kept, each for one customer.",
    )
    provider_max_answer_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="Longest provider answer that is read, after decompression."
    )
    provider_proxy: SecretStr = Field(
        SecretStr(""),
        description="A proxy for requests to providers: `http://[USER:PASSWORD@]HOST[:PORT]`, or `https`, `socks5`, "
        "`socks5h`; `none` for none. Empty for what `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` say. Hosts in `NO_PROXY` "
        "and this machine are never asked through a proxy.",
    )
    provider_proxy_file: Path | None = Field(None, description="A file with `SEQSTEP_PROVIDER_PROXY`, in its place.")
    provider_ca_file: Path | None = Field(
        None,
        description="Authorities that providers' certificates are trusted from, a PEM file, in addition to the system's "
        "(which `SSL_CERT_FILE` and `SSL_CERT_DIR` replace).",
    )

    tls_certificate: Path | None = Field(None, description="The certificate chain of both servers, a PEM file.")
    tls_private_key: Path | None = Field(None, description="The key of that certificate, a PEM file.")
    tls_client_ca: Path | None = Field(
        None, description="The authority whose client certificates stand for applications, a PEM file."
    )
    allow_plaintext: bool = Field(
        False, description="Listen without TLS on an address that other machines reach, for example behind a TLS proxy."
    )

    max_concurrent_calls: int = Field(
        256, ge=1, description="Calls that one worker serves at a time; more are answered RESOURCE_EXHAUSTED, or 429."
    )
    drain_seconds: float = Field(
        2.0,
        ge=0,
        description="How long the servers go on serving after SIGTERM, while health checks and `/readyz` say that they stop.",
    )
    stop_grace_seconds: float = Field(30.0, ge=0, description="How long running calls may take to end after that.")
    channelz: bool = Field(
        False,
        description="Answer `grpc.channelz.v1`, which shows the connections of the gRPC server and where they come from to "
        "whoever can reach it.",
    )
    log_format: LogFormat | None = Field(
        None,
        description="`json` for one JSON object a line, `console` for people. Without it, `console` on a terminal and `json` "
        "elsewhere.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="The least severe line logged.")

    def provider_url(self, provider: str, name: str) -> str:
        """A URL of a provider, by its name in the adapter's `urls`."""
        url: str = getattr(self, f"{provider}_{name}")
        return url

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Reads the secrets whose files are named, without the newline at their ends."""
        read = {}
        for name, field in cls.model_fields.items():
            path = given.get(f"{name}_file")
            if field.annotation is not SecretStr or not path:
                continue
            variable = f"SEQSTEP_{name.upper()}"
            if given.get(name):
                raise ValueError(f"set {variable} or {variable}_FILE, not both")
            try:
                read[name] = Path(path).read_text("utf-8").removesuffix("\n")
            except OSError as error:
                raise ValueError(f"{variable}_FILE: cannot read {path}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ValueError(f"{variable}_FILE: {path} is not text in UTF-8") from None
        return given | read

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_private_key is None):
            raise ValueError("set both SEQSTEP_TLS_CERTIFICATE and SEQSTEP_TLS_PRIVATE_KEY, or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("SEQSTEP_TLS_CLIENT_CA needs SEQSTEP_TLS_CERTIFICATE and SEQSTEP_TLS_PRIVATE_KEY")
        if self.workers > 1 and self.grpc_address.startswith("unix"):
            raise ValueError("SEQSTEP_GRPC_ADDRESS: workers cannot share a unix: address; set SEQSTEP_WORKERS=1")
        return self
