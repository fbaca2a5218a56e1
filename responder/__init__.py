"""Responder turns alerts into safe rollbacks."""

__version__ = "0.1.0"
