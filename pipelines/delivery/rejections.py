"""The rejection workbook: every rejected row, what is wrong with it and how to fix it."""

from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines.delivery.results import SubmissionResult
from pipelines.excel import writers
from pipelines.excel.annotator import Annotator
from pipelines.excel.book import MOST_CELLS, NOTED, SMALL, Book, Sheet
from pipelines.registry.records import SubmissionRecords
from schemas import network
from schemas.codes import CARD_STATE
from schemas.orders import HEADERS, NAMES
from schemas.reasons import REASONS
from schemas.sources import OPERATOR

OF_REPORTS: Final = ["target_order_id", "code"]
"""The columns of an order file that rejected rows of a network report have: Order ID and Code."""

_WAITING: Final = (
    "These orders wait for the operator's approval. You need not resubmit them; a new answer says what was decided."
)
_NEW_ID: Final = "Other rows of this order were placed: give this row a new Customer Order ID."


_REPORT: Final = (
    "This order-ID report has changed nothing: no card is released and none is refused because of it. Create it again without "
    "the mistakes below and send it again; its orders wait for it."
)


def rejection_rows(records: SubmissionRecords) -> pl.DataFrame:
    """`rejections.csv`: every rejected row as it came, then its row number, its reasons and what to fix. What concerns a
    file without usable rows stands in a row that has no number.
    """
    worded = _with_messages(records.findings, _words(records))
    whole = worded.filter(pl.col("source_row") == 0)
    each = _joined(worded.filter(pl.col("source_row") > 0).select("source_row", "reason", "words"))
    rows = records.rejected.join(each, on="source_row", how="left", maintain_order="left")
    placed = records.orders.select("account", "customer_order_id", placed=pl.lit(value=True))
    rows = rows.join(placed, on=["account", "customer_order_id"], how="left", maintain_order="left")
    of_file = "; ".join(whole["reason"].unique(maintain_order=True)), " ".join(whole["words"].unique(maintain_order=True))
    reasons = pl.concat_str(pl.lit(of_file[0] or None, pl.String), "reason", separator="; ", ignore_nulls=True)
    new_id = pl.when("placed").then(pl.lit(_NEW_ID))
    fix = pl.concat_str(pl.lit(of_file[1] or None, pl.String), "words", new_id, separator=" ", ignore_nulls=True)
    names = NAMES if records.events["kind"].item() == "orders" else OF_REPORTS
    named = rows.select(
        *(pl.col(name).alias(HEADERS[name]) for name in names), pl.col("source_row").alias("Row"),
        reasons.alias("Reason"), fix.alias("What to fix"),
    )  # fmt: skip
    if len(named) or whole.is_empty():
        return named
    blank = [pl.lit("").alias(HEADERS[name]) for name in names]
    return whole.select(
        *blank, pl.lit(None, pl.UInt32).alias("Row"), pl.col("reason").alias("Reason"), pl.col("words").alias("What to fix")
    )


def _joined(worded: pl.DataFrame) -> pl.DataFrame:
    """A row for each `source_row` with all of its `reason` and `words`. Most have one, which a million groups would copy."""
    several = worded.filter(pl.col("source_row").is_duplicated()).group_by("source_row").agg(
        pl.col("reason").unique(maintain_order=True).str.join("; "), pl.col("words").unique(maintain_order=True).str.join(" ")
    )  # fmt: skip
    return pl.concat([worded.filter(~pl.col("source_row").is_duplicated()), several])


def sorted_findings(findings: pl.DataFrame) -> pl.DataFrame:
    """The findings row by row; within a row as its columns stand, and then as in the table of reasons."""
    column = pl.col("column").replace_strict({name: n for n, name in enumerate(HEADERS)}, default=-1)
    reason = pl.col("reason").replace_strict({code: n for n, code in enumerate(REASONS)})
    return findings.sort("source_row", column, reason, "value", maintain_order=True)


def _words(records: SubmissionRecords) -> dict[str, str]:
    """What to fix for each reason: the network reads other words than a reseller where these would mislead it."""
    words = {code: reason.words for code, reason in REASONS.items()}
    return words | network.WORDS if records.events["kind"].first() == "report" else words


def _with_messages(findings: pl.DataFrame, words_of: dict[str, str]) -> pl.DataFrame:
    """The findings in order, with `words`: the column, what stands in it, and what to do. What is wrong with several values
    of a cell for one reason is said once.
    """
    words = pl.col("reason").replace_strict(words_of, return_dtype=pl.String)
    column = pl.col("column").replace_strict(HEADERS, default="", return_dtype=pl.String)
    found = _one_a_cell(_with_states(sorted_findings(findings)))
    state = pl.when(pl.col("state") != "").then(
        pl.col("state").str.slice(0, 1).str.to_uppercase() + pl.col("state").str.slice(1)
    )
    words = pl.concat_str(state + ".", words, separator=" ", ignore_nulls=True)
    value = pl.when(pl.col("value") != "").then("value")
    where = pl.concat_str(pl.when(column != "").then(column), value, separator=" ", ignore_nulls=True)
    return found.with_columns(words=pl.when(where != "").then(pl.format("{}: {}", where, words)).otherwise(words))


def _with_states(findings: pl.DataFrame) -> pl.DataFrame:
    """The findings with their `value` as it is shown, and what it says of the `state` of cards apart from it."""
    not_ready = pl.col("reason") == "CARD_NOT_READY"
    state = pl.when(not_ready).then(pl.col("value").str.extract(CARD_STATE).str.strip_chars(" ()")).fill_null("")
    value = pl.when(not_ready).then(pl.col("value").str.replace(CARD_STATE, "")).otherwise("value").str.slice(0, 200)
    quoted = pl.when((pl.col("source_row") > 0) & (pl.col("value") != "")).then(pl.format("“{}”", value)).otherwise(value)
    return findings.with_columns(value=quoted, state=state)


def _one_a_cell(findings: pl.DataFrame) -> pl.DataFrame:
    """One finding for all values of a cell that have the same reason (and `state`)."""
    keys = ["source_row", "column", "reason", "state"]
    several = pl.struct(keys).is_duplicated()
    if not findings.select(several.any()).item():
        return findings
    values = findings.with_row_index("at").filter(several).group_by(keys, maintain_order=True).agg(
        pl.col("at").first(), pl.col("value").unique(maintain_order=True).str.join(", ")
    )  # fmt: skip
    plural = pl.col("state").str.replace("^the card", "each card")
    joined = values.with_columns(state=pl.when(pl.col("value").str.contains("”, “")).then(plural).otherwise("state"))
    single = findings.with_row_index("at").filter(~several)
    return pl.concat([single.select(joined.columns), joined]).sort("at").drop("at")


def write_rejections(
    path: Path,
    records: SubmissionRecords,
    counts: SubmissionResult,
    rows: pl.DataFrame,
    original: Path | None,
    annotator: Annotator,
) -> None:
    """Write `rejections.xlsx`, in the layout of the original where that can be kept."""
    event = records.events.row(0, named=True)
    findings = sorted_findings(records.findings)
    whole = findings.filter(pl.col("source_row") == 0)
    reasons = findings.group_by("reason", maintain_order=True).len()
    words = pl.col("reason").replace_strict(_words(records), return_dtype=pl.String)
    what = reasons.select(Reason="reason", words=words, Count=pl.col("len").cast(pl.Int64)).rename({"words": "What to fix"})
    found = [("Found", f"{row['value']}") for row in whole.iter_rows(named=True) if row["value"]]
    key_values: list[tuple[str, Any]] = [
        ("File", event["file_name"]),
        ("Rows rejected", counts.rows_rejected),
        *([("Orders on hold", counts.orders_on_hold)] if counts.orders_on_hold else []),
        *found,
    ]
    if event["kind"] == "report":
        sheets = [Sheet("Rows", rows.head(MOST_CELLS // rows.width))] if len(records.rejected) else []
        writers.write(path, Book("The network report was not used", _REPORT, key_values, sheets, what))
        return
    if rows.height * rows.width > MOST_CELLS:
        advice = "There are too many rejected rows for a workbook. Correct them in rejections.csv and resubmit that file."
        writers.write(path, Book("Rejected orders", advice, key_values, [], what))
        return
    marks = _cell_marks(records)
    advice = "Fix the marked cells on the sheet Orders, save, and resubmit this workbook. The last three columns may stay."
    if len(marks) > NOTED or rows.height * rows.width > SMALL:
        advice += " There are too many rows for notes on the cells; the columns Reason and What to fix name every one."
    if records.rejected.is_empty():
        advice = "Nothing in this file was placed. Correct the file as described below and resubmit it."
        writers.write(path, Book("The file could not be used", advice, key_values, [], what))
        return
    title = "Rejected orders"
    if counts.orders_on_hold and not counts.rows_rejected:
        title, advice = "Orders on hold", _WAITING
    elif counts.orders_on_hold:
        advice += f" Leave rows with the reason ORDER_ON_HOLD as they are: {_WAITING[0].lower()}{_WAITING[1:]}"
    book = Book(title, advice, key_values, [Sheet("Orders", rows, marks)], what, opens_on="Orders")
    reseller = "" if event["source"] == OPERATOR else str(event["source"])
    if original is None or not annotator.write_own(path, book, original, reseller):
        writers.write(path, book)


def _cell_marks(records: SubmissionRecords) -> pl.DataFrame:
    """The cells at fault: `index` of the row among the rejected, `column` (header), `note`."""
    place = records.rejected.select("source_row").with_row_index("index")
    worded = _with_messages(records.findings.filter(pl.col("column").is_in(NAMES)), _words(records))
    worded = worded.with_columns(note=pl.format("{}: {}", "reason", "words"))
    placed = worded.join(place, on="source_row", maintain_order="left").group_by("index", "column", maintain_order=True)
    notes = placed.agg(pl.col("note").unique(maintain_order=True).str.join("\n"))
    return notes.select("index", column=pl.col("column").replace_strict(HEADERS, return_dtype=pl.String), note="note")
