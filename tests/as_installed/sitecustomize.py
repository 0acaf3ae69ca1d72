"""Has the processes that tests and benchmarks start find an installation's packages alone: PYTHONPATH names this folder.

Pandera and openpyxl import these where they are installed. Commands would start 0.4 s later than for users, and read XML
otherwise. Programs of the tests themselves (`python -m tests.…`) keep Hypothesis, except for the jobs of benchmarks.
"""

import sys
from importlib.machinery import PathFinder

HIDDEN = {"defusedxml", "hypothesis", "numpy", "pandas"}
if any(word.startswith("tests.") and word != "tests.benchmarks.jobs" for word in sys.orig_argv):
    HIDDEN.remove("hypothesis")

_found = PathFinder.find_spec


def _find_spec(name, path=None, target=None):
    return None if name in HIDDEN else _found(name, path, target)


PathFinder.find_spec = staticmethod(_find_spec)
