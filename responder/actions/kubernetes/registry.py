"""Every step on Kubernetes objects by the word it has in the rulebook's `uses`."""

from __future__ import annotations

from collections.abc import Mapping

from responder.actions.kubernetes.apply import Apply
from responder.actions.kubernetes.containers import SetEnv, SetImage
from responder.actions.kubernetes.delete import Delete
from responder.actions.kubernetes.exec import Exec
from responder.actions.kubernetes.job import Job
from responder.actions.kubernetes.logs import Logs
from responder.actions.kubernetes.parameters.logs import LogsParameters
from responder.actions.kubernetes.parameters.objects import (
    ApplyParameters,
    DeleteParameters,
    PatchParameters,
    RestoreParameters,
    SnapshotParameters,
    WaitParameters,
)
from responder.actions.kubernetes.parameters.programs import ExecParameters, JobParameters
from responder.actions.kubernetes.parameters.workloads import (
    DeletePodsParameters,
    PauseParameters,
    RestartParameters,
    ResumeParameters,
    ScaleParameters,
    SetEnvParameters,
    SetImageParameters,
    SwitchServiceParameters,
    UndoParameters,
)
from responder.actions.kubernetes.patch import Patch
from responder.actions.kubernetes.pause import Pause, Resume
from responder.actions.kubernetes.pods import DeletePods
from responder.actions.kubernetes.restart import Restart
from responder.actions.kubernetes.restore import Restore
from responder.actions.kubernetes.scale import Scale
from responder.actions.kubernetes.service import SwitchService
from responder.actions.kubernetes.snapshot import Snapshot
from responder.actions.kubernetes.undo import Undo
from responder.actions.kubernetes.wait import Wait
from responder.actions.parameters import Parameters
from responder.clients.kubernetes import KubernetesClient
from responder.ports import Action

KUBERNETES_PARAMETERS: Mapping[str, type[Parameters]] = {
    "kubernetes.undo": UndoParameters,
    "kubernetes.pause": PauseParameters,
    "kubernetes.resume": ResumeParameters,
    "kubernetes.restart": RestartParameters,
    "kubernetes.scale": ScaleParameters,
    "kubernetes.set_image": SetImageParameters,
    "kubernetes.set_env": SetEnvParameters,
    "kubernetes.patch": PatchParameters,
    "kubernetes.switch_service": SwitchServiceParameters,
    "kubernetes.apply": ApplyParameters,
    "kubernetes.delete": DeleteParameters,
    "kubernetes.delete_pods": DeletePodsParameters,
    "kubernetes.snapshot": SnapshotParameters,
    "kubernetes.restore": RestoreParameters,
    "kubernetes.job": JobParameters,
    "kubernetes.exec": ExecParameters,
    "kubernetes.wait": WaitParameters,
    "kubernetes.logs": LogsParameters,
}


def kubernetes_actions(cluster: KubernetesClient) -> Mapping[str, Action]:
    """Making them sends nothing."""
    return {
        "kubernetes.undo": Undo(),
        "kubernetes.pause": Pause(cluster),
        "kubernetes.resume": Resume(cluster),
        "kubernetes.restart": Restart(cluster),
        "kubernetes.scale": Scale(cluster),
        "kubernetes.set_image": SetImage(cluster),
        "kubernetes.set_env": SetEnv(cluster),
        "kubernetes.patch": Patch(cluster),
        "kubernetes.switch_service": SwitchService(cluster),
        "kubernetes.apply": Apply(cluster),
        "kubernetes.delete": Delete(cluster),
        "kubernetes.delete_pods": DeletePods(cluster),
        "kubernetes.snapshot": Snapshot(cluster),
        "kubernetes.restore": Restore(cluster),
        "kubernetes.job": Job(cluster),
        "kubernetes.exec": Exec(cluster),
        "kubernetes.wait": Wait(cluster),
        "kubernetes.logs": Logs(cluster),
    }
