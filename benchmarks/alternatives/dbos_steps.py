"""A workflow of four steps that do nothing, in DBOS: `python dbos_steps.py SECONDS SYSTEM_DATABASE_URL`."""

import json
import sys
import time

from dbos import DBOS


@DBOS.step()
def nothing() -> None:
    """Do nothing; the step's end is still recorded."""


@DBOS.workflow()
def four_steps() -> None:
    for _ in range(4):
        nothing()


def main(seconds: float, url: str) -> None:
    DBOS(config={"name": "benchmark", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    for _ in range(5):
        four_steps()
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        four_steps()
        runs += 1
    print(json.dumps({"runs": runs, "seconds": time.perf_counter() - began}))
    DBOS.destroy()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
