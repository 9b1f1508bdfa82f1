"""`bakery.pyz migrate FILE` brings a price list up to date; `bakery.pyz health FILE` tells how the service is."""

import json
import sys
from pathlib import Path

from bakery.prices import PRICES_CENTS, total_cents

SCHEMA = 2


def migrate(path):
    """Writes the current prices into the list, and its schema number. Can be run again."""
    data = json.loads(path.read_text())
    before = data["schema"]
    path.write_text(json.dumps({"schema": SCHEMA, "prices": PRICES_CENTS}, indent=2) + "\n")
    print(f"migrated {path.name} from schema {before} to {SCHEMA}")


def health(path):
    """Prints `{"status": "ok"}` if the list is the one that this version wants."""
    data = json.loads(path.read_text())
    well = data == {"schema": SCHEMA, "prices": PRICES_CENTS} and total_cents({"rye": 1}) == PRICES_CENTS["rye"]
    print(json.dumps({"status": "ok" if well else "ill", "products": len(data["prices"])}))


def main():
    commands = {"migrate": migrate, "health": health}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        sys.exit("usage: bakery.pyz migrate|health FILE")
    commands[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
