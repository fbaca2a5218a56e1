"""Templates in the parameters of actions; which names they know is said in `responder.clients.templates`.

`render` for what people read, `render_argument` for what reaches a command, a body or an object. Where a template may not stand
at all (an address, a program, an object's name), the parameter's own type refuses it when the rulebook is loaded.
"""

from responder.clients.templates import check_argument, check_template, is_template, render, render_argument

__all__ = ["check_argument", "check_template", "is_template", "render", "render_argument"]
