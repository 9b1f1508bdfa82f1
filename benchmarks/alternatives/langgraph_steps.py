"""A graph of four nodes that do nothing, in LangGraph with its SQLite saver: `python langgraph_steps.py SECONDS FILE`.

`durability="sync"`: each node's end is in the database before the next node starts, as in the others.
"""

import json
import sys
import time
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    number: int


def nothing(state: State) -> State:
    return {"number": state["number"] + 1}


def main(seconds: float, path: str) -> None:
    graph = StateGraph(State)
    names = [f"step{number}" for number in range(1, 5)]
    for name in names:
        graph.add_node(name, nothing)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    with SqliteSaver.from_conn_string(path) as saver:
        app = graph.compile(checkpointer=saver)

        def run(number: int) -> None:
            config = {"configurable": {"thread_id": str(number)}}
            done = app.invoke({"number": 0}, config, durability="sync")
            assert done == {"number": 4}

        for number in range(5):
            run(-1 - number)
        runs, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            run(runs)
            runs += 1
    print(json.dumps({"runs": runs, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
