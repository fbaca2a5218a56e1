"""The `with` of the steps on Kubernetes objects: what may be written, and what it must fit. No step, no client.

Objects, programs and manifests are written out: no alert can choose one.
"""
