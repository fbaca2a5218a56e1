"""Connections to other services. Library errors become ours here."""
