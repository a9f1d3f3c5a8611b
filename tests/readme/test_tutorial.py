"""The tutorial's commands, run as they stand there, lead from nothing to the first change."""

from pathlib import Path

import pytest

from tests.readme.play import NOT_PLAYED, commands
from tests.readme.reader import play_as_reader

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.slow
def test_every_command_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    played = play_as_reader(PAGE, tmp_path)
    assert [each.command for each in played] == [
        code for _, code, _ in commands(PAGE.read_text()) if code not in NOT_PLAYED
    ]
    for each in played:
        assert each.status == 0, each.output
        lines = iter(each.output.splitlines())
        for promised in each.promised.splitlines():
            assert any(line == promised for line in lines), (
                f"{promised!r} is not in, or not in this order:\n{each.output}"
            )
    [shown] = [each for each in played if "--validate-only" in each.command]
    assert "Thursday?" in shown.output
    assert "exit status" in played[-1].output
