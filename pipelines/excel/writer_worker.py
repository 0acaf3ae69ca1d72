"""The child process that writes workbooks: `python -m pipelines.excel.writer_worker FD LIMITS`. See `second_writer`."""

import sys
from io import BytesIO
from multiprocessing.connection import Connection

from pipelines.excel import writers
from pipelines.excel.second_writer import unpacked


def main() -> None:
    """Write workbooks until the parent hangs up."""
    connection = Connection(int(sys.argv[1]))
    while True:
        try:
            book = unpacked(connection.recv_bytes(), connection.recv_bytes())
        except EOFError:
            return
        made = BytesIO()
        writers.write(made, book)
        connection.send_bytes(b"null")
        connection.send_bytes(made.getvalue())


if __name__ == "__main__":
    main()
