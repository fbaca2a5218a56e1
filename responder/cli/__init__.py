"""The command line: one module per group of commands. No decisions are taken here."""
