"""Conditions that need a memory, or several alerts: one module per family.

Each keeps what it must of one group and says whether it holds at a moment, and when that may change by itself.
"""
