"""The door for programs on other machines: HTTP, in the process that drives the runs. Needs the extra `server`."""
