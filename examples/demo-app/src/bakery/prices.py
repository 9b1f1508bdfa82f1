"""What an order costs, in cents."""

PRICES_CENTS = {"rye": 420, "wheat": 380, "croissant": 160, "pretzel": 110}
DOZEN = 12


def total_cents(order):
    """The price of `{"rye": 2, …}`; every thirteenth piece of a kind is free. Raises ValueError."""
    total = 0
    for name, count in order.items():
        if name not in PRICES_CENTS:
            raise ValueError(f"we do not bake {name}")
        if count < 0:
            raise ValueError(f"nobody can order {count} of {name}")
        total += PRICES_CENTS[name] * (count - count // (DOZEN + 1))
    return total
