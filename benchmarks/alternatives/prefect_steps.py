"""A flow of four tasks that do nothing, in Prefect with its local server: `python prefect_steps.py SECONDS HOME`."""

import json
import os
import sys
import time


def main(seconds: float, home: str) -> None:
    os.environ |= {
        "PREFECT_HOME": home,
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    from prefect import flow, task

    @task
    def nothing() -> None:
        """Do nothing; the task's states are still recorded."""

    @flow
    def four_steps() -> None:
        for _ in range(4):
            nothing()

    for _ in range(2):
        four_steps()
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        four_steps()
        runs += 1
    print(json.dumps({"runs": runs, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
