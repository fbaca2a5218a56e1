"""One module per family of plan steps."""
