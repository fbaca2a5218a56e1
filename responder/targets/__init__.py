"""One module per kind of target: how to read, list and roll back its versions."""
