"""Metrics of runs, and of how things stand: counted from what runs log, read from registry and inbox, served or in a file."""
