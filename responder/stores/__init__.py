"""SQL storage: journal, incidents, outbox, ledger."""
