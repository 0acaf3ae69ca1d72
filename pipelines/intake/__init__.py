"""From a dropped file to a table of text: recognised by its first bytes, parsed in a process of its own."""
