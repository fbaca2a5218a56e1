"""SQL stores behind the ports: journal, incidents, outbox, ledger.

Statements, connections, transactions and the encoding of what is stored belong here; decisions and policies
(when to prune, how often to retry) do not.
"""
