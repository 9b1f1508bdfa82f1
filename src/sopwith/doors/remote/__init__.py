"""The command against a server: the same verbs, by HTTP. Nothing is decided here."""
