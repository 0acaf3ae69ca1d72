"""The brake on reports: one that would do far more than reports usually do waits for the operator."""

from typing import Final, NamedTuple

import polars as pl

from pipelines.common.words import count

FEWEST_REFUSED: Final = 100
"""A report that would refuse fewer codes is never put on hold for it, whatever their share."""


class Limits(NamedTuple):
    """What a report may do without approval: the share (0 to 1) of the awaited codes of its orders that it may refuse, and
    how many codes it may show that nobody here issued.
    """

    refused: float
    external: int


def over_limits(names: pl.DataFrame, waiting: pl.DataFrame, external: pl.DataFrame, limits: Limits) -> dict[int, str]:
    """The reports past a limit, with the words that say so.

    `names`: `report`, `order_pk`, `judged_event`; `waiting`: of these orders how many `cards` that an event placed are
    awaited, and how many of those are `shown` (`order_pk`, `placed_event`); `external`: `report`, `code`.
    """
    counts = waiting.select("order_pk", "placed_event", judged="cards", refused=pl.col("cards") - pl.col("shown"))
    judged = names.join(counts, on="order_pk").filter(pl.col("placed_event") <= pl.col("judged_event"))
    figures = judged.group_by("report").agg(pl.col("judged", "refused").sum())
    too_many = figures.filter(pl.col("refused") >= FEWEST_REFUSED, pl.col("refused") > limits.refused * pl.col("judged"))
    strange = external.group_by("report").agg(codes=pl.col("code").n_unique().cast(pl.Int64))
    words = {report: f"It would refuse {refused:,} of the {count(judged, 'code', 'codes')} that its orders wait for."
             for report, judged, refused in too_many.select("report", "judged", "refused").iter_rows()}  # fmt: skip
    for report, codes in strange.filter(pl.col("codes") > limits.external).sort("report").iter_rows():
        words[report] = f"{words.get(report, '')} It shows {codes:,} codes that were not issued here.".strip()
    return words
