"""What agents and their programs are given: tools, as a table, their calls and their answers. Knows no protocol."""
