"""Every action by the word it has in the rulebook's `uses`.

A new one is a module, a model in `parameters` and a line in each of the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from pydantic import BaseModel

from responder.actions.http import HttpCheck
from responder.actions.notify import Notify
from responder.actions.parameters import HttpCheckParameters, NotifyParameters, RollbackParameters, SleepParameters
from responder.actions.rollback import Rollback
from responder.actions.sleep import Sleep
from responder.clients.kubernetes import KubernetesClient
from responder.ports import Action

PARAMETERS: Mapping[str, type[BaseModel]] = {
    "rollback": RollbackParameters,
    "http.check": HttpCheckParameters,
    "notify": NotifyParameters,
    "sleep": SleepParameters,
}


def build_actions(client: httpx.AsyncClient, cluster: KubernetesClient) -> Mapping[str, Action]:
    """client: from `responder.clients.http.new_client`; it follows no redirects. Making them sends nothing."""
    return {
        "rollback": Rollback(),
        "http.check": HttpCheck(client),
        "notify": Notify(),
        "sleep": Sleep(),
    }
