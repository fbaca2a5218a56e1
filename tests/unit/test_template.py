"""What is equal, what is material, and what a version is called."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from responder.targets import template as templates

Change = Callable[[dict[str, Any]], None]


def a_template() -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "shop"}, "annotations": {"team": "checkout"}},
        "spec": {
            "initContainers": [{"name": "migrate", "image": "shop/migrate:1.0", "command": ["migrate"]}],
            "containers": [
                {
                    "name": "app",
                    "image": "shop/app:1.0",
                    "args": ["--port", "80"],
                    "env": [{"name": "MODE", "value": "a"}],
                    "envFrom": [{"configMapRef": {"name": "settings"}}],
                    "resources": {"limits": {"memory": "64Mi"}},
                    "readinessProbe": {"periodSeconds": 10},
                }
            ],
            "volumes": [{"name": "config", "configMap": {"name": "files"}}, {"name": "scratch", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 30,
        },
    }


def changed(change: Change) -> dict[str, Any]:
    template = copy.deepcopy(a_template())
    change(template)
    return template


def app(template: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = template["spec"]["containers"][0]
    return container


MATERIAL = [
    pytest.param(lambda t: app(t).update(image="shop/app:1.1"), id="image"),
    pytest.param(lambda t: app(t).update(command=["other"]), id="command"),
    pytest.param(lambda t: app(t)["args"].append("-v"), id="arguments"),
    pytest.param(lambda t: app(t)["env"][0].update(value="b"), id="environment"),
    pytest.param(lambda t: app(t)["envFrom"][0]["configMapRef"].update(name="settings-2"), id="config reference in envFrom"),
    pytest.param(lambda t: app(t)["resources"]["limits"].update(memory="32Mi"), id="memory limit"),
    pytest.param(lambda t: t["spec"]["volumes"][0]["configMap"].update(name="files-2"), id="config reference in a volume"),
    pytest.param(lambda t: t["spec"]["initContainers"][0].update(image="shop/migrate:1.1"), id="image of an init container"),
    pytest.param(lambda t: t["spec"]["containers"].append({"name": "side", "image": "proxy:1"}), id="another container"),
]
IMMATERIAL = [
    pytest.param(lambda t: t["metadata"]["annotations"].update({"kubectl.kubernetes.io/restartedAt": "now"}), id="restart stamp"),
    pytest.param(lambda t: t["metadata"]["annotations"].update({"checksum/config": "abc"}), id="checksum annotation"),
    pytest.param(lambda t: t["metadata"]["labels"].update(tier="web"), id="label"),
    pytest.param(lambda t: app(t)["readinessProbe"].update(periodSeconds=5), id="probe"),
    pytest.param(lambda t: t["spec"].update(terminationGracePeriodSeconds=5), id="grace period"),
    pytest.param(lambda t: t["spec"]["volumes"].append({"name": "more", "emptyDir": {}}), id="volume without configuration"),
]
EQUAL = [
    pytest.param(lambda t: t["metadata"]["labels"].update({"pod-template-hash": "abc"}), id="the ReplicaSet's own label"),
    pytest.param(lambda t: t["metadata"].update(creationTimestamp=None), id="a null that older servers write"),
    pytest.param(lambda t: t.update(spec=dict(reversed(t["spec"].items()))), id="the order of keys"),
]


@pytest.mark.parametrize("change", MATERIAL)
def test_material_changes_change_fingerprint_and_digest(change: Change) -> None:
    assert templates.fingerprint(changed(change)) != templates.fingerprint(a_template())
    assert templates.digest(changed(change)) != templates.digest(a_template())


@pytest.mark.parametrize("change", IMMATERIAL)
def test_other_changes_change_the_digest_only(change: Change) -> None:
    assert templates.fingerprint(changed(change)) == templates.fingerprint(a_template())
    assert templates.digest(changed(change)) != templates.digest(a_template())


@pytest.mark.parametrize("change", EQUAL)
def test_no_change_at_all(change: Change) -> None:
    assert templates.fingerprint(changed(change)) == templates.fingerprint(a_template())
    assert templates.digest(changed(change)) == templates.digest(a_template())


@pytest.mark.parametrize(
    ("annotation", "volatile"),
    [
        pytest.param("kubectl.kubernetes.io/restartedAt", True, id="kubectl's restart stamp"),
        pytest.param("reloader.stakater.com/last-reloaded-from", True, id="Reloader's stamp"),
        pytest.param("rollme", True, id="the Helm idiom"),
        pytest.param("checksum/config", False, id="a checksum says that configuration changed"),
        pytest.param("sidecar.istio.io/proxyImage", False, id="a sidecar's image"),
    ],
)
def test_volatile_annotations(annotation: str, volatile: bool) -> None:
    stamped = changed(lambda t: t["metadata"]["annotations"].update({annotation: "x"}))
    only_stamped = changed(lambda t: t["metadata"].update(annotations={annotation: "x"}))
    bare = changed(lambda t: t["metadata"].pop("annotations"))

    assert (templates.steady_digest(stamped) == templates.steady_digest(a_template())) is volatile
    assert (templates.steady_digest(only_stamped) == templates.steady_digest(bare)) is volatile


@pytest.mark.parametrize(
    ("image", "name"),
    [
        pytest.param("shop/app:1.4.2", "1.4.2", id="tag"),
        pytest.param("registry:5000/shop/app:1.4.2", "1.4.2", id="tag behind a registry with a port"),
        pytest.param("shop/app:1.4.2@sha256:0123456789abcdef", "1.4.2", id="tag and digest"),
        pytest.param("shop/app@sha256:0123456789abcdef", "sha256:0123456789ab", id="digest only, cut"),
        pytest.param("registry:5000/shop/app", "7.1", id="neither: the version label"),
    ],
)
def test_version_name(image: str, name: str) -> None:
    template = changed(lambda t: app(t).update(image=image))
    template["metadata"]["labels"]["app.kubernetes.io/version"] = "7.1"

    assert templates.version_name(template) == name


def test_without_tag_digest_and_label_it_is_what_a_bare_name_pulls() -> None:
    assert templates.version_name(changed(lambda t: app(t).update(image="shop/app"))) == "latest"


def test_the_default_container_names_the_version() -> None:
    template = changed(lambda t: t["spec"]["containers"].insert(0, {"name": "proxy", "image": "envoy:9"}))
    template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] = "app"

    assert templates.version_name(template) == "1.0"
    assert templates.images(template) == ("envoy:9", "shop/app:1.0")
