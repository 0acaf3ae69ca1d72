"""The figures of a submission."""

from typing import Any

import polars as pl

from pipelines.registry.records import SubmissionRecords


def submission_counts(answer: SubmissionRecords) -> dict[str, Any]:
    """The figures of an event, as `cards run --json` has them."""
    keys = ["account", "order_ref"]
    rejected = answer.rejected
    if len(rejected):
        rejected = rejected.join(answer.orders.select(keys), on=keys, how="anti")
    return {
        "orders_placed": len(answer.orders),
        "orders_already_placed": len(answer.duplicate_orders),
        "orders_rejected": rejected.n_unique(keys) if len(rejected) else 0,
        "codes_placed": len(answer.codes),
        "rows": answer.events["rows"].item(),
        "rows_rejected": len(answer.rejected),
        "reasons": reason_counts(answer),
    }


def reason_counts(answer: SubmissionRecords) -> dict[str, int]:
    """In how many rows each reason was found."""
    if answer.findings.is_empty():  # most files, and frames of nothing take their time too
        return {}
    return dict(answer.findings.group_by("reason").agg(pl.col("row").n_unique()).sort("reason").iter_rows())
