"""The doors: they read input, call one engine method and show the result. No rule lives here."""
