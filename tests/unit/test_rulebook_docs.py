"""docs/rulebook.md, docs/commands.md: what they show loads, and the defaults they name are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from responder.actions.registry import PARAMETERS
from responder.rulebook import condition_form, form, people_form, plan_form, target_form, told_form
from responder.rulebook.loader import load_rulebook
from responder.rulebook.schema import as_written

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("rulebook.md", "commands.md", "targets-hosts.md", "notifications.md")
PAGE = "\n".join((DOCS / name).read_text(encoding="utf-8") for name in PAGES)
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_snippet_loads(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "snippet.yaml"
    path.write_text(snippet, encoding="utf-8")
    load_rulebook(path, PARAMETERS)


def rows() -> dict[str, list[str]]:
    """Default cells of the page's tables by key; a key may stand in several tables."""
    found: dict[str, list[str]] = {}
    for key, default in re.findall(r"^\| `([a-z0-9_.]+)` \| (.*?) \|", PAGE, re.MULTILINE):
        found.setdefault(key, []).append(default)
    return found


FORMS: list[tuple[str, type[BaseModel]]] = [
    ("", target_form.TargetForm),
    ("guards.", target_form.GuardsForm),
    ("kubernetes.", target_form.KubernetesForm),
    ("helm.", target_form.HelmForm),
    ("argocd.", target_form.ArgoCdForm),
    ("compose.", target_form.ComposeForm),
    ("checkout.", target_form.CheckoutForm),
    ("", form.RuleForm),
    ("approve.", people_form.ApproveForm),
    ("freeze.", people_form.FreezeForm),
    ("hold.", form.HoldForm),
    ("limits.", form.LimitsForm),
    ("value.", condition_form.ValueForm),
    ("baseline.", condition_form.BaselineForm),
    ("count.", condition_form.CountForm),
    ("ratio.", condition_form.RatioForm),
    ("absent.", condition_form.AbsentForm),
    ("", plan_form.PlanForm),
    ("monitor.", plan_form.MonitorForm),
    ("inputs.", plan_form.InputForm),
    ("checkpoints.", plan_form.CheckpointForm),
    ("", plan_form.StepForm),
    ("retry.", plan_form.RetryForm),
    ("", told_form.RouteForm),
    ("escalation.", told_form.EscalationForm),
    # The steps on Kubernetes objects have a page of their own.
    *(("", model) for uses, model in PARAMETERS.items() if uses != "sleep" and not uses.startswith("kubernetes.")),
]


@pytest.mark.parametrize(("prefix", "model"), FORMS, ids=lambda each: each if isinstance(each, str) else each.__name__)
def test_every_key_is_listed_with_its_default(prefix: str, model: type[BaseModel]) -> None:
    listed = rows()
    for name, field in model.model_fields.items():
        if prefix == "value." and name in ("above", "below", "between"):
            continue  # in the table of conditions
        key = prefix + (field.alias or name)
        assert key in listed, f"{key} is not described"
        default = as_written(field.default)
        if field.default is PydanticUndefined:
            assert "required" in listed[key], key
        elif isinstance(default, str | int) and default != "":
            written = {"2 per 1d": "2 per 24h", "False": "false", "True": "true"}.get(str(default), default)
            assert f"`{written}`" in listed[key], key


def test_the_page_has_snippets() -> None:
    assert len(SNIPPETS) >= 6
