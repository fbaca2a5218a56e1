"""The README tells the truth about settings, rulebook, routes and guards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from responder.actions.registry import PARAMETERS
from responder.domain.guards import NAMES
from responder.rulebook.loader import load_rulebook
from responder.settings.service import SECRETS, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_setting_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"`RESPONDER_([A-Z_]+)`", README.split("## Settings")[1].split("\n## ")[0]))
    assert listed == {name.upper() for name in Settings.model_fields}
    assert {"webhook_token", "slack_webhook_url", "database_url"} <= SECRETS


def test_the_rulebook_loads(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "rules.yaml").write_text(snippet)
    assert load_rulebook(tmp_path / "rules.yaml", PARAMETERS).rules[0].name == "error_rate_spike"


def test_every_guard_is_listed_and_no_other() -> None:
    table = set(re.findall(r"^   \| `(\w+)` \|", README, re.MULTILINE))
    (others,) = re.findall(r"^   Also (.*);", README, re.MULTILINE)
    assert table | set(re.findall(r"`(\w+)`", others)) == set(NAMES)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
