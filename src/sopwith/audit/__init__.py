"""The record that can be proven: checkpoints over all events, their verification, export and retention."""
