"""The one place where concrete classes meet, and the only one that knows the clock.

Belongs here: what is built from settings, who gets what, and what runs side by side. Does not: decisions of any kind.
"""
