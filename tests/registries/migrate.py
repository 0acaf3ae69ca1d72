"""`python -m tests.registries.migrate URL N`: opens a registry and kills itself before statement N of what that takes."""

import os
import signal
import sys
from typing import Any

from pipelines.registry.database import POSTGRESQL, SQLITE
from pipelines.registry.migrations import prepare
from pipelines.registry.store import Registry


class Dying(Registry):
    left = int(sys.argv[2])

    def execute(self, sql: str, *parameters: Any) -> None:
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        super().execute(sql, *parameters)


with Dying(sys.argv[1], SQLITE if sys.argv[1].startswith("sqlite") else POSTGRESQL) as registry:
    prepare(registry)
