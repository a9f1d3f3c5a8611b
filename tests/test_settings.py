"""Secrets are read from the files that settings name, as container platforms and systemd hand them over."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from service.process_exit import EXIT_CONFIGURATION
from service.settings import Settings
from tests.support.command import run_here, without_settings

SECRETS = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SEQSTEP_{name.upper()}", raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("written", "read"),
    [("one two", "one two"), ("one\n", "one"), (" one\n\n", " one\n"), ("one\r\n", "one"), ("", "")],
)
def test_every_secret_can_be_in_a_file(
    tmp_path: Path, variables: pytest.MonkeyPatch, name: str, written: str, read: str
) -> None:
    (tmp_path / "secret").write_bytes(written.encode())
    variables.setenv(f"SEQSTEP_{name.upper()}_FILE", str(tmp_path / "secret"))
    assert getattr(Settings(), name).get_secret_value() == read


def test_an_empty_name_of_a_file_is_none(variables: pytest.MonkeyPatch) -> None:
    variables.setenv("SEQSTEP_DATABASE_URL_FILE", "")
    assert Settings().database_url == Settings.model_fields["database_url"].default


def test_an_empty_variable_leaves_the_secret_to_the_file(tmp_path: Path, variables: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("sqlite:///here")
    variables.setenv("SEQSTEP_DATABASE_URL", "")
    variables.setenv("SEQSTEP_DATABASE_URL_FILE", str(tmp_path / "secret"))
    assert Settings().database_url.get_secret_value() == "sqlite:///here"


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_both_places_is_refused(tmp_path: Path, variables: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "secret").write_text("hidden-1")
    variables.setenv(f"SEQSTEP_{name.upper()}", "hidden-2")
    variables.setenv(f"SEQSTEP_{name.upper()}_FILE", str(tmp_path / "secret"))
    with pytest.raises(ValidationError, match=f"set SEQSTEP_{name.upper()} or SEQSTEP_{name.upper()}_FILE") as caught:
        Settings()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot read {path}: No such file or directory"), (b"hidden\xff", "{path} is not text in UTF-8")],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    ended = run_here(without_settings() | {"SEQSTEP_ENCRYPTION_KEYS_FILE": str(path)}, "connection", "list")
    assert ended.status == EXIT_CONFIGURATION
    assert f"SEQSTEP_ENCRYPTION_KEYS_FILE: {reason.format(path=path)}" in ended.err
    assert "hidden" not in ended.err


def test_the_image_leaves_every_secret_to_whoever_runs_it() -> None:
    """A variable of the image and a file of its user would be both."""
    dockerfile = (Path(__file__).parents[1] / "Dockerfile").read_text()
    assert not [name for name in SECRETS if f"SEQSTEP_{name.upper()}=" in dockerfile]
