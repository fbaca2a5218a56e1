"""Every action by the word it has in the rulebook's `uses`.

A new one is a module, a model in `parameters` and a line in each of the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from pydantic import BaseModel

from responder.actions.command import CommandCheck, CommandRights, CommandRun
from responder.actions.command_parameters import CommandParameters, CommandRunParameters
from responder.actions.http import HttpCheck
from responder.actions.kubernetes.registry import KUBERNETES_PARAMETERS, kubernetes_actions
from responder.actions.notify import Notify
from responder.actions.parameters import HttpCheckParameters, NotifyParameters, RollbackParameters, SleepParameters
from responder.actions.prometheus import PrometheusCheck
from responder.actions.prometheus_parameters import PrometheusCheckParameters
from responder.actions.rollback import Rollback
from responder.actions.sleep import Sleep
from responder.clients.kubernetes import KubernetesClient
from responder.clients.programs import Programs
from responder.clients.prometheus import NoPrometheus
from responder.ports import Action, Prometheus

PARAMETERS: Mapping[str, type[BaseModel]] = {
    "rollback": RollbackParameters,
    "http.check": HttpCheckParameters,
    "command.run": CommandRunParameters,
    "command.check": CommandParameters,
    "prometheus.check": PrometheusCheckParameters,
    **KUBERNETES_PARAMETERS,
    "notify": NotifyParameters,
    "sleep": SleepParameters,
}


def build_actions(
    client: httpx.AsyncClient,
    cluster: KubernetesClient,
    programs: Programs | None = None,
    rights: CommandRights | None = None,
    prometheus: Prometheus | None = None,
) -> Mapping[str, Action]:
    """client: from `responder.clients.http.new_client`; it follows no redirects. rights: without them no program may be run.

    Making them sends nothing.
    """
    programs, rights = programs or Programs(), rights or CommandRights()
    return {
        "rollback": Rollback(),
        "http.check": HttpCheck(client),
        "command.run": CommandRun(programs, rights),
        "command.check": CommandCheck(programs, rights),
        "prometheus.check": PrometheusCheck(prometheus or NoPrometheus()),
        **kubernetes_actions(cluster),
        "notify": Notify(),
        "sleep": Sleep(),
    }
