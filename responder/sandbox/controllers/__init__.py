"""What acts on the sandbox's objects: controllers, garbage collection, a kubelet. All of them level-triggered over the store."""
