"""The figures of the heavy attacks, for their table in docs/security.md. Imports nothing, so that pytest can begin after it."""

LINES: list[str] = []
HEADER = ["| attack | dropped | peak memory of all processes, MB | seconds | another's good file waits, seconds |",
          "|---|---:|---:|---:|---:|"]  # fmt: skip
