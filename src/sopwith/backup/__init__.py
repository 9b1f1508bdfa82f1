"""Backups of a workspace's record: made while others work, verified when made, restored so that nothing runs twice."""
