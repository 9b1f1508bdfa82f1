"""The use cases. One method serves every door; `driver` is imported only by what drives."""
