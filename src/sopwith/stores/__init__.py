"""Where runs are kept. SQLite is the default; every store passes the suite in `testing/contract_store.py`."""
