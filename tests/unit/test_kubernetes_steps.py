"""Steps on Kubernetes objects without a cluster: what a rulebook may say, places inside objects, differences, names."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from responder.actions.kubernetes.difference import content_hash, difference
from responder.actions.kubernetes.job import job_name
from responder.actions.kubernetes.paths import changed, changes, path, value_at
from responder.actions.registry import PARAMETERS, build_actions
from responder.clients.http import new_client
from responder.clients.kubernetes import KubernetesClient
from responder.ports import Compensating, Previewing

CONFIG = {"kind": "ConfigMap", "namespace": "shop", "name": "settings"}
JOB = {"kind": "Job", "metadata": {"namespace": "shop"}, "spec": {}}


def test_every_step_can_be_previewed_and_what_must_not_stay_is_taken_back() -> None:
    actions = {
        uses: one for uses, one in build_actions(new_client(), KubernetesClient()).items() if uses.startswith("kubernetes.")
    }
    assert set(actions) == {uses for uses in PARAMETERS if uses.startswith("kubernetes.")}
    assert actions
    assert [uses for uses, one in actions.items() if not isinstance(one, Previewing)] == []
    taken_back = {uses.partition(".")[2] for uses, one in actions.items() if isinstance(one, Compensating)}
    assert taken_back == {"pause", "scale", "set_env", "patch", "switch_service", "delete"}


HOSTILE = [
    "{{ labels.pod }}",
    "a b",
    "../kube-system",
    "a/b",
    "-x",
    "A",
    "",
    "x" * 1_000_000,
    "a\nb",
    "$(reboot)",
    "a;b",
    "ü",
    "a%2fb",
]


@pytest.mark.parametrize("value", HOSTILE, ids=[repr(one[:20]) for one in HOSTILE])
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_an_object_is_written_out(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        PARAMETERS["kubernetes.delete"].model_validate({"object": {**CONFIG, field: value}})
    meta = {"namespace": "shop", "name": "settings", field: value}
    with pytest.raises(ValidationError):
        PARAMETERS["kubernetes.apply"].model_validate({"manifest": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}})


REFUSED: list[Any] = [
    pytest.param("scale", {}, "needs one of", id="scale to nothing"),
    pytest.param("scale", {"replicas": 1, "at_least": 1}, "needs one of", id="scale to two numbers"),
    pytest.param("scale", {"replicas": -1}, "greater than or equal to 0", id="scale below zero"),
    pytest.param("pause", {"target": "a", "object": CONFIG}, "exclude each other", id="a target and an object"),
    pytest.param("set_image", {"images": {"app": "{{ labels.image }}"}}, "no labels here", id="an image by a label"),
    pytest.param("set_image", {"images": {"app": "{{ inputs.repo }}:1"}}, "only the tag", id="a repository by an input"),
    pytest.param("set_image", {"images": {"app": "a/b:{{ labels.v }}"}}, "here", id="a tag by a label"),
    pytest.param("set_image", {"images": {"app": "a/b:{{ inputs.v }}/c"}}, "only the tag", id="a path behind the tag"),
    pytest.param("set_image", {"images": {"app": "a b"}}, "is not an image", id="no image"),
    pytest.param("set_env", {"env": {"A": "{{ annotations.x }}"}}, "here", id="an environment by an annotation"),
    pytest.param("set_env", {"env": {"A;B": "1"}}, "environment variable", id="no name of a variable"),
    pytest.param("exec", {"argv": ["sh", "-c", "{{ labels.x }}"]}, "written out", id="a program by a label"),
    pytest.param("exec", {"argv": []}, "at least 1", id="no program"),
    pytest.param("apply", {}, "either `manifest` or `deleted_by`", id="nothing to apply"),
    pytest.param("job", {"manifest": {**JOB, "kind": "Pod"}}, "must be a Job|serves no", id="a Job that is none"),
    pytest.param("restore", {"object": {**CONFIG, "kind": "Service"}}, "only a ConfigMap or a Secret", id="a Service restored"),
    pytest.param("restore", {"object": CONFIG, "before": "yesterday"}, "is not a time", id="no time"),
    pytest.param("restore", {"object": CONFIG, "before": "2026-03-01T12:00:00"}, "needs its zone", id="no zone"),
    pytest.param("wait", {"for": "condition"}, "`condition` belongs", id="which condition"),
    pytest.param("wait", {"for": "gone"}, "needs an `object`", id="what is to be gone"),
    pytest.param("delete", {"object": {**CONFIG, "kind": "Whatever"}}, "unknown kind", id="a kind nobody knows"),
    pytest.param("undo", {"to_revision": 0}, "greater than or equal to 1", id="kubectl's revision 0"),
    pytest.param("switch_service", {"service": "s", "key": "c", "colours": {"blue": "a"}}, "at least 2", id="one colour"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "parameters", "message"), REFUSED)
def test_refused_when_the_rulebook_is_loaded(step: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PARAMETERS[f"kubernetes.{step}"].model_validate(parameters)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout"])
def test_workloads_are_not_applied(kind: str) -> None:
    manifest = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"namespace": "shop", "name": "app"}}
    with pytest.raises(ValidationError, match="use `rollback`"):
        PARAMETERS["kubernetes.apply"].model_validate({"manifest": manifest})


@pytest.mark.parametrize(
    ("step", "parameters", "destroys"),
    [
        pytest.param("delete", {"object": {**CONFIG, "kind": "PersistentVolumeClaim"}}, True, id="a claim"),
        pytest.param("delete", {"object": {**CONFIG, "kind": "Secret"}}, True, id="a Secret"),
        pytest.param("delete", {"object": {**CONFIG, "kind": "Ingress"}}, False, id="an Ingress is made again from its manifest"),
        pytest.param("restore", {"object": CONFIG}, True, id="a restore"),
        pytest.param("job", {"manifest": JOB}, False, id="a Job"),
        pytest.param("job", {"manifest": JOB, "destroys_data": True}, True, id="a Job that says so"),
        pytest.param("delete_pods", {}, False, id="pods"),
    ],
)
def test_what_destroys_data(step: str, parameters: dict[str, Any], destroys: bool) -> None:
    assert PARAMETERS[f"kubernetes.{step}"].model_validate(parameters).destroys() is destroys  # type: ignore[attr-defined]


class TestPaths:
    POD: ClassVar[dict[str, Any]] = {
        "containers": [
            {"name": "side", "image": "s:1"},
            {"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}]},
        ]
    }

    CHANGES: ClassVar[list[Any]] = [
        pytest.param({path("containers", "[app]", "image"): "a:2"}, [("replace", "/containers/1/image")], id="by name"),
        pytest.param({path("containers", "[app]", "env", "[A]"): None}, [("remove", "/containers/1/env/0")], id="taken out"),
        pytest.param({path("containers", "[app]", "env", "[B]"): {"name": "B"}}, [("add", "/containers/1/env/-")], id="added"),
        pytest.param(
            {path("containers", "[side]", "env", "[B]"): {"name": "B"}},
            [("add", "/containers/0/env"), ("add", "/containers/0/env/-")],
            id="with the list that is missing",
        ),
        pytest.param({path("meta", "a/b~c"): "x"}, [("add", "/meta"), ("add", "/meta/a~1b~0c")], id="with the mapping above"),
        pytest.param({path("nothing"): None}, [], id="nothing to do"),
    ]  # fmt: skip

    @pytest.mark.parametrize(("wanted", "expected"), CHANGES)
    def test_operations(self, wanted: dict[str, Any], expected: list[tuple[str, str]]) -> None:
        operations = changes(self.POD, wanted)
        assert [(one["op"], one["path"]) for one in operations] == expected
        outcome = jsonpatch.apply_patch(self.POD, operations)
        assert {pointer: value_at(outcome, pointer) for pointer in wanted} == wanted
        assert outcome == changed(self.POD, wanted)

    names = st.sampled_from(["a", "b", "c", "d"])

    @given(
        start=st.lists(names, unique=True),
        wanted=st.dictionaries(names, st.none() | st.text(max_size=3), max_size=4),
    )
    def test_whatever_is_wanted_of_a_list_comes_out(self, start: list[str], wanted: dict[str, str | None]) -> None:
        item = {"env": [{"name": name, "value": "old"} for name in start]}
        values = {
            path("env", f"[{name}]"): None if text is None else {"name": name, "value": text} for name, text in wanted.items()
        }
        outcome = jsonpatch.apply_patch(item, changes(item, values))
        assert {pointer: value_at(outcome, pointer) for pointer in values} == values
        untouched = [name for name in start if name not in wanted]
        assert [one["name"] for one in outcome["env"] if one["name"] not in wanted] == untouched


class TestDifference:
    def test_only_what_people_wrote(self) -> None:
        before = {
            "kind": "ConfigMap",
            "metadata": {"name": "a", "resourceVersion": "1", "managedFields": [{}]},
            "data": {"f": "one\ntwo\n"},
        }
        after = {"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "2"}, "data": {"f": "one\n2\n"}}
        assert [line for line in difference(before, after).splitlines()[2:] if line[0] in "+-"] == ["-    two", "+    2"]
        assert difference(before, before) == ""

    def test_values_of_secrets_stay_hidden_even_when_they_are_no_base64(self) -> None:
        shown = difference({"kind": "Secret", "data": {"a": "aHVzaA=="}}, {"kind": "Secret", "stringData": {"a": "hush!"}})
        assert "aHVzaA" not in shown
        assert "hush" not in shown

    def test_the_hash_is_of_the_content_alone(self) -> None:
        one = {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}}
        assert content_hash(one) == content_hash({"data": {"a": "1"}, "immutable": True, "binaryData": {}})
        assert content_hash(one) != content_hash({"data": {"a": "2"}})


@pytest.mark.parametrize(
    ("step", "begins"),
    [
        pytest.param("row-counts", "inc-01k3-row-counts", id="as it is"),
        pytest.param("Row counts!", "inc-01k3-row-counts-", id="what no name may hold"),
        pytest.param("kubernetes.job", "inc-01k3-kubernetes-job-", id="a dot"),
        pytest.param("x" * 200, "inc-01k3-xxxxx", id="too long"),
    ],
)
def test_names_of_jobs(step: str, begins: str) -> None:
    """The same for every attempt, never the same for two steps."""
    made = job_name("inc_01k3", step)
    assert made.startswith(begins)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", made)
    assert made == job_name("inc_01k3", step)
    assert made not in {job_name("inc_01k3", other) for other in (step + "?", step.replace(".", "-") + "x", step.upper() + ".")}
