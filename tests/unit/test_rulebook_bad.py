"""One wrong rulebook per rule of validation, its message beside it. What these messages say is what somebody reads at night."""

from __future__ import annotations

from pathlib import Path

import pytest

from responder.actions.registry import PARAMETERS
from responder.errors import RulebookError
from responder.rulebook.loader import load_rulebook

FOLDER = Path(__file__).parents[1] / "bad_rulebooks"
NAMES = sorted(path.name.removesuffix(".bad.yaml") for path in FOLDER.glob("*.bad.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_rulebook_is_refused_with_its_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(RulebookError) as refused:
        load_rulebook(Path(f"{name}.bad.yaml"), PARAMETERS)
    assert list(refused.value.problems) == Path(f"{name}.txt").read_text(encoding="utf-8").splitlines()


def test_every_message_has_its_rulebook() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES
    assert len(NAMES) > 80
