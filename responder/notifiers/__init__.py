"""One module per service that is told about incidents. The outbox retries, notifiers only send."""
