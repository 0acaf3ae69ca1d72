"""Enter codes that exist already."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.context import Runtime
from pipelines.common.errors import UsageError, require_file
from pipelines.common.masking import mask_codes
from pipelines.common.words import count
from pipelines.registry import audit_trail
from pipelines.registry.store import Registry
from schemas.headers import header_key
from schemas.orders import BY_HEADER

_BATCH: Final = 2_000_000
_LISTED: Final = 10


class ImportCounts(NamedTuple):
    """How many lines a file of existing codes has, how many codes were new, and how many lines do not hold 14 digits."""

    lines: int
    new: int
    invalid: int

    @property
    def known(self) -> int:
        """Lines with a code that the registry had already."""
        return self.lines - self.new - self.invalid


def import_codes(path: Path, registry: Registry, runtime: Runtime = Runtime()) -> ImportCounts:
    """Enter the codes of a CSV or Parquet file as `external`; lines without 14 digits are left out. The audit trail has when
    that began and what came of it.

    The file is read in portions, each one a transaction, so that memory stays bounded and an interrupted import can
    be run again. Raises UsageError when the file can't be used.
    """
    require_file(path)
    lines = new = invalid = 0
    audit_trail.note(registry, audit_trail.entry_of(runtime, "began to import existing codes", path.name, ""))
    for batch in _portions(path):
        codes = batch.filter(batch.str.contains(r"^[0-9]{14}$").fill_null(value=False))
        new += registry.import_codes(codes.cast(pl.Int64))
        lines, invalid = lines + len(batch), invalid + len(batch) - len(codes)
        runtime.progress("codes", lines, lines)
    about = f"{count(lines, 'line')}, {count(new, 'new code')}"
    audit_trail.note(registry, audit_trail.entry_of(runtime, "imported existing codes", path.name, about))
    return ImportCounts(lines, new, invalid)


def _portions(path: Path) -> Iterator[pl.Series]:
    """The codes of a file as text, in portions of a bounded size."""
    try:
        frame = pl.scan_parquet(path) if path.suffix.lower() == ".parquet" else pl.scan_csv(path, infer_schema=False)
        names = frame.collect_schema().names()
        known = [name for name in names if BY_HEADER.get(header_key(name)) == "code"]
        if len(known) != 1:  # a column of another name may be a file without a header, whose first code would be lost
            raise UsageError(f"{path.name} needs one column named Code; it has {mask_codes(', '.join(names[:_LISTED]))}.")
        for batch in frame.select(pl.col(known[0]).cast(pl.String)).collect_batches(chunk_size=_BATCH, maintain_order=True):
            yield batch[known[0]].str.strip_chars()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} can't be read as CSV or Parquet ({type(error).__name__}).") from None
