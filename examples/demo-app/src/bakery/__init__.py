"""A price service that fits in a hand: the examples test it, pack it and deploy it."""
