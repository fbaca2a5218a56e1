"""One module per sender: request bytes to signals. Nothing is stored or decided here."""
