"""A simulated cluster and catchers for messages: used by the demo and by tests of plans."""
