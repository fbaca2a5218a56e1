"""The environment as typed objects. The only package that reads it."""
