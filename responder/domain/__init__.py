"""Pure values and decisions: no I/O, no clock, no randomness. Time is a parameter."""
