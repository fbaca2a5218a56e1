"""`notify`: tell people something in the course of a plan."""

from __future__ import annotations

from collections.abc import Mapping

from responder.actions.parameters import NotifyParameters
from responder.actions.templates import render
from responder.ports import StepContext


class Notify:
    async def run(self, parameters: Mapping[str, object], context: StepContext) -> str:
        notice = NotifyParameters.read(parameters)
        title = " ".join(render(notice.title, context.incident, context.target).split())
        text = render(notice.text, context.incident, context.target)
        await context.tell(title, text, notice.to)
        return f"told {notice.to or 'everyone on the routes'}: {title or text}"

    async def preview(self, parameters: Mapping[str, object], context: StepContext) -> str:
        notice = NotifyParameters.read(parameters)
        text = " ".join(render(notice.text, context.incident, context.target).split())
        return f"would tell {notice.to or 'everyone on the routes'}: {text}"
