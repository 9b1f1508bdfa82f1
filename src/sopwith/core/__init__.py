"""The pure middle: no clock, no dice, no input or output. Time, actors and ids arrive inside commands."""
