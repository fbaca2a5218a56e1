"""The sandbox's Kubernetes API: storage, admission, patches, watches, HTTP. Nothing here makes pods: see `controllers`."""
