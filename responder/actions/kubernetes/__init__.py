"""Steps on Kubernetes objects, one module per family.

Here: how one kind of change is made, once. What all have in common is in `place` (which object), `edit` (rehearsed, written down,
made once, taken back) and `difference` (shown). Not here: choosing versions; that is the guards' and the targets' business.
"""
