"""Where events come from, one file each."""
