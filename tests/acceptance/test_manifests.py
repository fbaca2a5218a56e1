"""deploy/ as it is shipped: kustomize builds it, a genuine API server takes it, and it grants what is needed and no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from responder.actions.registry import PARAMETERS
from responder.clients.kubernetes import KubernetesClient
from responder.domain.matcher import all_match
from responder.domain.rulebook import Response
from responder.domain.target import Target, WorkloadRef
from responder.domain.version import RolloutPhase
from responder.errors import ForbiddenError
from responder.rulebook.loader import load_rulebook
from responder.settings.environment import load_settings
from responder.targets.kubernetes import KubernetesWorkloads
from tests.harness.cluster import GenuineCluster, Object, shared_folder
from tests.harness.rollback import Intent, pin_of

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "base"
OVERLAY = DEPLOY / "overlays" / "paperless-maverick"
ALERTS = DEPLOY / "prometheus" / "paperless-maverick.rules.yml"


def run(*command: str, stdin: str = "", exits: tuple[int, ...] = (0,)) -> str:
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in exits, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def build(folder: Path) -> list[Object]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", str(folder))))


def only(objects: list[Object], kind: str) -> Object:
    found = [each for each in objects if each["kind"] == kind]
    assert len(found) == 1, found
    return found[0]


# --- what the files say ----------------------------------------------------------------------------------------------


@pytest.fixture
def pod() -> Object:
    spec = only(build(OVERLAY), "Deployment")["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def variables(pod: Object) -> dict[str, str]:
    """The container's environment: the image's, then the Deployment's own. What comes from a Secret reads `from-secret`."""
    in_image = dict(re.findall(r"(RESPONDER_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
    return in_image | {each["name"]: each.get("value", "from-secret") for each in pod["containers"][0]["env"]}


def test_the_base_alone_gives_no_rights_and_an_empty_rulebook_that_loads() -> None:
    objects = build(BASE)
    assert {each["kind"] for each in objects} == {
        "Namespace", "ServiceAccount", "PersistentVolumeClaim", "Deployment", "Service", "ConfigMap",
    }  # fmt: skip
    rulebook = load_rulebook(BASE / "no-rules.yaml", PARAMETERS)
    assert (rulebook.rules, rulebook.targets) == ((), {})


def test_the_overlay_carries_the_shipped_rulebook() -> None:
    rules = only(build(OVERLAY), "ConfigMap")
    shipped = (ROOT / "rules" / "paperless-maverick.yaml").read_text()
    assert rules["data"] == {"rules.yaml": shipped}, "copy rules/paperless-maverick.yaml over the overlay's rules.yaml"


def test_the_settings_of_the_deployment_are_settings_that_exist(pod: Object, tmp_path: Path) -> None:
    given = variables(pod)
    for variable, value in given.items():
        if variable.endswith("_FILE"):
            file = tmp_path / value.lstrip("/")
            file.parent.mkdir(exist_ok=True)
            file.write_text("https://hooks.example.com/services/x" if value.endswith("-url") else "secret")
            given[variable] = str(file)
    assert load_settings(given).has_tokens


def test_every_secret_that_is_asked_for_is_in_the_example(pod: Object) -> None:
    example = yaml.safe_load((DEPLOY / "secret.example.yaml").read_text())
    files = {Path(value) for name, value in variables(pod).items() if name.endswith("_FILE")}
    assert {file.parent for file in files} == {Path("/secrets")}
    references = [each["valueFrom"]["secretKeyRef"] for each in pod["containers"][0]["env"] if "valueFrom" in each]
    assert {file.name for file in files} | {each["key"] for each in references} == set(example["stringData"])
    assert {each["name"] for each in references} == {example["metadata"]["name"]}


def test_every_folder_that_is_written_or_read_is_mounted(pod: Object) -> None:
    mounts = {each["mountPath"]: each.get("readOnly", False) for each in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/data": False, "/tmp": False, "/rules": True, "/secrets": True}
    given = variables(pod)
    assert given["RESPONDER_RULES"] == "/rules"
    assert given["RESPONDER_DATABASE_URL"].startswith("sqlite:////data/")


def test_the_pod_meets_the_restricted_standard_and_is_left_no_service_variables(pod: Object) -> None:
    container = pod["containers"][0]
    user = re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # A Service called `responder` would set RESPONDER_PORT=tcp://… in every pod of its namespace.
    assert pod["enableServiceLinks"] is False


# --- what a genuine API server says ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installed:
    """The overlay on the genuine cluster, in namespaces of its own, with the service account's own credentials."""

    cluster: GenuineCluster
    service: str
    team: str
    kubeconfig: Path

    def can(self, verb: str, resource: str, namespace: str) -> bool:
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), "auth", "can-i", verb, resource]
        answer = run(*command, *(["--namespace", namespace] if namespace else ["--all-namespaces"]), exits=(0, 1)).strip()
        assert answer in ("yes", "no")
        return answer == "yes"


@pytest.fixture
async def installed(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    async with GenuineCluster(shared_folder(tmp_path_factory)) as cluster:
        service, team = await cluster.new_namespace("responder"), await cluster.new_namespace("team")
        objects = [moved(each, {"responder": service, "paperless-maverick": team}) for each in build(OVERLAY)]
        manifests = yaml.safe_dump_all(objects)
        run("kubectl", "--kubeconfig", str(cluster.kubeconfig), "apply", "--server-side", "--filename", "-", stdin=manifests)
        yield Installed(cluster, service, team, await cluster.kubeconfig_of(service, "responder", tmp_path))


def moved(manifest: Object, namespaces: dict[str, str]) -> Object:
    """The same object with other namespaces, so that tests on one cluster don't meet."""

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(each) for each in value]
        if isinstance(value, dict):
            return {key: namespaces[each] if key == "namespace" else walk(each) for key, each in value.items()}
        return value

    changed: Object = walk(manifest)
    if changed["kind"] == "Namespace":
        changed["metadata"]["name"] = namespaces[changed["metadata"]["name"]]
    return changed


def rights(installed: Installed, namespace: str) -> set[tuple[str, str, str]]:
    """All that the service account may do there, as (verb, resource, name or ""); what every account may do is left out."""
    command = ["kubectl", "--kubeconfig", str(installed.kubeconfig), "create", "--filename", "-", "--output", "yaml"]
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    status = yaml.safe_load(run(*command, stdin=yaml.safe_dump(review)))["status"]
    assert not status["incomplete"]
    return {
        (verb, f"{resource}.{group}" if group else resource, name)
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        if group != "authorization.k8s.io"
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
    }


async def test_the_service_account_has_these_rights_and_no_others(installed: Installed) -> None:
    deployments = ("paperless-maverick", "embedding-queue-workers")
    assert rights(installed, installed.team) == {
        *((verb, "deployments.apps", name) for verb in ("get", "list", "watch", "patch") for name in deployments),
        ("list", "replicasets.apps", ""),
        ("list", "pods", ""),
        ("create", "events", ""),
        ("list", "rollouts.argoproj.io", ""),
        ("list", "canaries.flagger.app", ""),
        ("list", "horizontalpodautoscalers.autoscaling", ""),
        ("list", "poddisruptionbudgets.policy", ""),
        ("list", "resourcequotas", ""),
    }
    assert rights(installed, installed.service) == set()
    assert rights(installed, "kube-system") == set()


@pytest.mark.parametrize(
    ("verb", "resource", "where", "allowed"),
    [
        pytest.param("patch", "deployments.apps/paperless-maverick", "team", True, id="may patch a declared Deployment"),
        pytest.param("patch", "deployments.apps/somebody-elses", "team", False, id="may not patch another Deployment"),
        pytest.param("delete", "deployments.apps/paperless-maverick", "team", False, id="may not delete what it may patch"),
        pytest.param("list", "secrets", "team", False, id="may not read the team's secrets"),
        pytest.param("get", "secrets/responder-secrets", "service", False, id="may not read its own secrets through the API"),
        pytest.param("create", "pods/exec", "team", False, id="may not run commands in pods"),
        pytest.param("patch", "deployments.apps", "", False, id="may patch nothing cluster-wide"),
        pytest.param("escalate", "roles.rbac.authorization.k8s.io", "team", False, id="may not give itself rights"),
    ],
)
async def test_kubectl_says_the_same(installed: Installed, verb: str, resource: str, where: str, allowed: bool) -> None:
    namespace = {"team": installed.team, "service": installed.service, "": ""}[where]
    assert installed.can(verb, resource, namespace) is allowed


async def test_these_rights_are_enough_to_watch_and_roll_back(installed: Installed) -> None:
    cluster, name = installed.cluster, "paperless-maverick"
    await cluster.roll_out(installed.team, name, "shop/app:1.0")
    await cluster.deploy(installed.team, name, image="shop/app:1.1-bad")
    client = KubernetesClient(str(installed.kubeconfig))
    workloads = KubernetesWorkloads(client, lambda: datetime.now(UTC))
    workload = workloads.of(Target("app", WorkloadRef(installed.team, name), ()))
    try:
        seen = workload.watch()
        assert (await anext(seen)).current.version == "1.1-bad"
        await seen.aclose()
        state = await cluster.until(workload.read, lambda state: len(state.history) == 2)
        assert state.owner_unknown == ""
        pin = await pin_of(workload, "1.0")
        await workload.roll_back(pin, Intent())
        await cluster.until(lambda: workload.rollout(pin), lambda status: status.phase is RolloutPhase.COMPLETE)
        about = await cluster.get(installed.team, name)
        await client.create_event(about, reason="RolledBack", message="to 1.0", at=datetime.now(UTC))

        await cluster.deploy(installed.team, "somebody-elses", image="shop/other:1.0")
        with pytest.raises(ForbiddenError, match=r"^missing right: get deployments\.apps"):
            await workloads.of(Target("other", WorkloadRef(installed.team, "somebody-elses"), ())).read()
    finally:
        await client.close()


# --- Prometheus and Alertmanager -------------------------------------------------------------------------------------


def alerts() -> Iterator[Object]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


@pytest.mark.parametrize("name", ["paperless-maverick", "responder"])
def test_the_alert_rules_do_what_their_own_tests_say(name: str) -> None:
    run("promtool", "check", "rules", str(ALERTS.with_name(f"{name}.rules.yml")))
    run("promtool", "test", "rules", str(ALERTS.with_name(f"{name}.test.yml")))


@pytest.mark.parametrize("name", ["paperless-maverick", "responder"])
def test_the_operator_gets_the_same_rules(name: str) -> None:
    resource = yaml.safe_load(ALERTS.with_name(f"{name}.prometheusrule.yaml").read_text())
    assert resource["spec"] == yaml.safe_load(ALERTS.with_name(f"{name}.rules.yml").read_text())


def test_every_expression_of_the_dashboard_is_one(tmp_path: Path) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "responder.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$job", ".*")}
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run("promtool", "check", "rules", str(tmp_path / "rules.yml"))


def test_every_alert_reaches_one_rule_and_one_target_of_the_shipped_rulebook() -> None:
    rulebook = load_rulebook(ROOT / "rules" / "paperless-maverick.yaml", PARAMETERS)
    reached = []
    by_expression = {"namespace": "paperless-maverick", "deployment": "paperless-maverick"}
    for alert in alerts():
        assert alert["annotations"]["value"] == "{{ $value }}"
        assert "for" not in alert, "the rulebook keeps the durations"
        labels = alert["labels"] | by_expression | {"alertname": alert["alert"]}
        reached += [rule.name for rule in rulebook.rules if all_match(rule.matchers, labels)]
    # What a person has to weigh comes from a scanner and from the application, not from these alert rules.
    by_itself = [rule.name for rule in rulebook.rules if rule.response is Response.ROLLBACK]
    assert sorted(reached) == sorted(by_itself)
    assert [target.name for target in rulebook.targets.values() if all_match(target.matchers, by_expression)] == ["app"]


def test_alertmanager_takes_the_receiver() -> None:
    path = DEPLOY / "alertmanager" / "alertmanager.yml"
    run("amtool", "check-config", str(path))
    webhook = yaml.safe_load(path.read_text())["receivers"][1]["webhook_configs"][0]
    service = only(build(BASE), "Service")
    port = service["spec"]["ports"][0]["port"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert webhook["url"] == f"http://{host}:{port}/webhooks/alertmanager"
    assert webhook["send_resolved"] is True
    assert webhook["max_alerts"] == 0
