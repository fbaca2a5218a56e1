"""One module per sender: request bytes to signals. Nothing is stored or decided here."""

from __future__ import annotations

from collections.abc import Mapping

from responder.intakes import alertmanager
from responder.intakes.delivery import Parse

# Name in `/webhooks/<name>` and in the label `source` → how to read a body.
INTAKES: Mapping[str, Parse] = {alertmanager.SOURCE: alertmanager.parse}
