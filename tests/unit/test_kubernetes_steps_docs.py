"""docs/actions-kubernetes.md: every step, every key and every default it names is the real one, and what it shows loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from responder.actions.kubernetes.parameters.about import ObjectParameters
from responder.actions.registry import PARAMETERS, build_actions
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.ports import Compensating
from responder.rulebook.loader import load_rulebook
from responder.rulebook.schema import as_written

PAGE = (Path(__file__).parents[2] / "docs" / "actions-kubernetes.md").read_text(encoding="utf-8")
STEPS = {uses: model for uses, model in PARAMETERS.items() if uses.startswith("kubernetes.")}
SECTIONS = dict(re.findall(r"^### `([a-z_.]+)`\n(.*?)(?=^###? |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def rows(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `([a-z_.]+)` \| (.*?) \|", text, re.MULTILINE))


def check(model: type[BaseModel], listed: dict[str, str]) -> None:
    known = {field.alias or name: field for name, field in model.model_fields.items()}
    assert set(listed) == set(known)
    for key, field in known.items():
        default = as_written(field.default)
        if field.default is PydanticUndefined:
            assert listed[key] == "required", key
        elif isinstance(default, str | int) and default != "":
            assert listed[key] == f"`{ {'True': 'true', 'False': 'false'}.get(str(default), default) }`".replace(" ", ""), key


@pytest.mark.parametrize("uses", STEPS)
def test_every_key_of_a_step_is_listed_with_its_default(uses: str) -> None:
    check(STEPS[uses], rows(SECTIONS[uses]))


def test_every_key_of_an_object_is_listed_with_its_default() -> None:
    check(ObjectParameters, rows(PAGE.partition("| key of `object` |")[2].partition("\n## ")[0]))


def test_the_table_of_steps_is_complete_and_says_what_is_put_back() -> None:
    table = PAGE.partition("| step | effect |")[2].partition("\n\n")[0]
    cells = {row.split("|")[1].strip(" `"): row.split("|")[4].strip() for row in table.splitlines()[2:]}
    assert set(cells) == set(STEPS)
    actions = build_actions(new_client(), KubernetesClient())
    for uses, put_back in cells.items():
        assert (not put_back.startswith("never") and put_back != "") is isinstance(actions[uses], Compensating), uses


@pytest.mark.parametrize("snippet", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_every_snippet_loads(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.yaml"
    path.write_text(snippet, encoding="utf-8")
    load_rulebook(path, PARAMETERS)
