"""A run that dies at a checkpoint, as by a kill or for want of memory: `python -m tests.security.dies NAME`, with the settings
of the environment."""

import os
import sys

from pipelines.common.context import Runtime
from pipelines.common.settings import load_settings
from pipelines.process_orders import process_inbox
from pipelines.run import open_run


def main() -> None:
    def checkpoint(name: str) -> None:
        if name == sys.argv[1]:
            os._exit(9)

    settings = load_settings(_env_file=None)
    with open_run(settings, Runtime(checkpoint=checkpoint)) as run:
        process_inbox(run)


if __name__ == "__main__":
    main()
