"""What is written into a submission's folder, all of it from what the registry knows of the file."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines import workbooks
from pipelines.files import whole_file
from pipelines.mending import Mender
from pipelines.placing import digits
from pipelines.registry import Answers
from pipelines.workbooks import Book, Sheet
from schemas import actions
from schemas.orders import HEADERS, NAMES
from schemas.reasons import REASONS

PLACEMENT: Final = [
    "Order ID", "Action", "Customer Account Number", "Product Account Number", "Access Number", "Authorization Code",
    "International Origin", "International Termination",
]  # fmt: skip
OF_REPORTS: Final = ["target", "code"]
"""The columns of an order file that rejected rows of a network report have: Order ID and Code."""
_FEW: Final = 10_000
_DANGEROUS: Final = r"^[=+\-@\t\r]"
_NOT_YET: Final = (
    "Do not print these codes yet. A code is safe to print when it appears in a release file of this folder; "
    "that is after the network has confirmed it, usually the next morning."
)
_NEW_ID: Final = "Other rows of this order were placed: give this row a new Customer Order ID."


class Papers(NamedTuple):
    """What is written for one event.

    `event`: its fields; `answer`: all that the registry knows of it; `orders`: the first sheet of the confirmation;
    `confirmed` and `placement`: the rows of `confirmation.csv` and `placement-*.csv`.
    """

    event: dict[str, Any]
    answer: Answers
    orders: pl.DataFrame
    confirmed: pl.DataFrame
    placement: pl.DataFrame


def papers(answers: Answers) -> list[Papers]:
    """What is written for each event, made for all at once: a query costs as much for a small file as for a thousand."""
    cards = _cards(answers)
    made = (_orders(answers), _confirmed(answers, cards), placement(cards))
    parts = [_by_event(frame) for frame in answers]
    more = [_by_event(frame) for frame in made]
    return [
        Papers(
            event,
            Answers(*(part(event["event"]) for part in parts)),
            *(part(event["event"]).drop("event") for part in more),
        )
        for event in answers.events.iter_rows(named=True)
    ]


def _by_event(frame: pl.DataFrame) -> Callable[[int], pl.DataFrame]:
    """What concerns an event, by its number."""
    parts = (
        frame.partition_by("event", as_dict=True) if frame["event"].n_unique() > 1 else {tuple(frame["event"].head(1)): frame}
    )
    none = frame.clear()
    return lambda event: parts.get((event,), none)


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """A CSV file in which no cell can become a formula (OWASP, “CSV injection”): an apostrophe goes before it."""
    text = pl.col(pl.String)
    safe = pl.when(text.str.contains(_DANGEROUS)).then("'" + text).when(text != "").then(text)
    rows = frame.with_columns(safe.name.keep())
    if len(rows) > _FEW:
        with path.open("wb") as file:
            rows.write_csv(file, line_terminator="\r\n")
    else:  # to have Polars write into a file costs ten times as much as to write a small one
        path.write_text(rows.write_csv(line_terminator="\r\n"), "utf-8", newline="")


def write_folder(folder: Path, papers: Papers, original: Path | None, mender: Mender, most_codes: int) -> None:
    """Write the reports of one event into a folder.

    `original`: where the file that it answers lies, if it is there; `most_codes`: how many codes a workbook lists.
    """
    if papers.event["readable"] and papers.event["kind"] == "orders":
        write_csv(papers.confirmed, folder / "confirmation.csv")
        _confirmation(folder / "confirmation.xlsx", papers, most_codes)
    if len(papers.answer.findings):
        rows = rejections(papers.answer)
        write_csv(rows, folder / "rejections.csv")
        _rejections(folder / "rejections.xlsx", papers.answer, rows, original, mender)


def _cards(answers: Answers) -> pl.DataFrame:
    """Every card of the placed orders, new or taken, with the fields of its order."""
    cards = pl.concat([answers.codes, answers.touches]).select("event", "order_no", "code")
    cards = cards.with_columns(code=digits(pl.col("code")))
    return cards.join(answers.orders, on=["event", "order_no"], maintain_order="left")


def _confirmed(answers: Answers, cards: pl.DataFrame) -> pl.DataFrame:
    """`confirmation.csv`: a row for each card of a placed order, and one for each order that was placed before."""
    columns = {
        "Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "order_ref",
        "Action": "action", "Authorization Code": "code", "State": "state",
    }  # fmt: skip
    placed = cards.with_columns(state=pl.lit("placed"))
    again = answers.repeats.with_columns(code=pl.lit(""), state=pl.lit("already placed"))
    return pl.concat([_named(frame, columns) for frame in (placed, again)])


def _named(frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    return frame.select("^event$", *(pl.col(name).alias(header) for header, name in columns.items()))


def placement(cards: pl.DataFrame) -> pl.DataFrame:
    """`placement-*.csv`: a row for each card (`code` as text) with the fields of its order."""
    names = ["order_id", "action", "account", "product", "access_number", "code", "origin", "termination"]
    return _named(cards, dict(zip(PLACEMENT, names, strict=True)))


def write_placement(outbox: Path, event: dict[str, Any], rows: pl.DataFrame) -> None:
    """Write `outbox/network/placement-*.csv`: what the network must load for an event's cards.

    For a change of existing cards, an empty cell means: as it was.
    """
    path = outbox / "network" / f"placement-{event['sender']}-{event['folder']}.csv"
    whole_file(path, lambda beside: write_csv(rows, beside))


def rejections(answer: Answers) -> pl.DataFrame:
    """`rejections.csv`: every rejected row as it came, then its row number, its reasons and what to fix."""
    told = _worded(answer.findings)
    whole = told.filter(pl.col("row") == 0)
    each = told.filter(pl.col("row") > 0).group_by("row").agg(
        pl.col("reason").unique(maintain_order=True).str.join("; "), pl.col("words").unique(maintain_order=True).str.join(" ")
    )  # fmt: skip
    rows = answer.rejected.join(each, on="row", how="left", maintain_order="left")
    rows = rows.join(
        answer.orders.select("account", "order_ref", placed=pl.lit(value=True)), on=["account", "order_ref"], how="left",
        maintain_order="left",
    )  # fmt: skip
    of_file = "; ".join(whole["reason"].unique(maintain_order=True)), " ".join(whole["words"].unique(maintain_order=True))
    reasons = pl.concat_str(pl.lit(of_file[0] or None, pl.String), "reason", separator="; ", ignore_nulls=True)
    new_id = pl.when("placed").then(pl.lit(_NEW_ID))
    fix = pl.concat_str(pl.lit(of_file[1] or None, pl.String), "words", new_id, separator=" ", ignore_nulls=True)
    names = NAMES if answer.events["kind"].item() == "orders" else OF_REPORTS
    named = rows.select(
        *(pl.col(name).alias(HEADERS[name]) for name in names), pl.col("row").alias("Row"),
        reasons.alias("Reason"), fix.alias("What to fix"),
    )  # fmt: skip
    if len(named) or whole.is_empty():
        return named
    blank = [pl.lit("").alias(HEADERS[name]) for name in names]
    return whole.select(
        *blank, pl.col("row").alias("Row"), pl.col("reason").alias("Reason"), pl.col("words").alias("What to fix")
    )


def in_order(findings: pl.DataFrame) -> pl.DataFrame:
    """The findings row by row; within a row as its columns stand, and then as in the table of reasons."""
    column = pl.col("column_name").replace_strict({name: n for n, name in enumerate(HEADERS)}, default=-1)
    reason = pl.col("reason").replace_strict({code: n for n, code in enumerate(REASONS)})
    return findings.sort("row", column, reason, "value", maintain_order=True)


def _worded(findings: pl.DataFrame) -> pl.DataFrame:
    """The findings in order, with `words`: the column, what stands in it, and what to do."""
    words = pl.col("reason").replace_strict({code: reason.words for code, reason in REASONS.items()}, return_dtype=pl.String)
    column = pl.col("column_name").replace_strict(HEADERS, default="", return_dtype=pl.String)
    value = pl.col("value").str.slice(0, 200)
    value = pl.when(pl.col("value") != "").then(pl.when(pl.col("row") > 0).then(pl.format("“{}”", value)).otherwise(value))
    where = pl.concat_str(pl.when(column != "").then(column), value, separator=" ", ignore_nulls=True)
    return in_order(findings).with_columns(words=pl.when(where != "").then(pl.format("{}: {}", where, words)).otherwise(words))


def _orders(answers: Answers) -> pl.DataFrame:
    """The first sheet of the confirmation: what was placed, and what was placed before."""
    when = pl.col("at").str.head(19).str.to_datetime()
    placed = answers.orders.with_columns(state=pl.lit("placed"), placed_at=when)
    again = answers.repeats.with_columns(state=pl.lit("already placed"), placed_at=when)
    wanted = {
        "Order ID": "order_id", "Customer Account Number": "account", "Customer Order ID": "order_ref", "Action": "action",
        "State": "state", "Placed": "placed_at", "Cards": "cards", "Rows": "rows", "Code Type": "code_type",
        "Product Account Number": "product", "Access Number": "access_number", "International Origin": "origin",
        "International Termination": "termination", "Comments": "comments",
    }  # fmt: skip
    return pl.concat([_named(placed, wanted), _named(again, wanted)], how="vertical_relaxed")


def _confirmation(path: Path, papers: Papers, most_codes: int) -> None:
    event, answer = papers.event, papers.answer
    counts = counted(answer)
    new = answer.orders["action"].is_in(actions.issuing()).any()
    facts: list[tuple[str, Any]] = [
        ("File", event["file"]),
        ("Received", datetime.fromisoformat(event["at"]).replace(tzinfo=None)),
        ("Rows in the file", counts["rows"]),
        ("Orders placed", counts["orders_placed"]),
        ("Orders already placed", counts["orders_already_placed"]),
        ("Orders rejected", counts["orders_rejected"]),
        ("Codes placed", counts["codes_placed"]),
        ("Rows rejected", counts["rows_rejected"]),
        *[("Remark", note) for note in event["notes"].splitlines()],
    ]
    advice = f"{_NOT_YET if new else ''}" + (" Some rows were rejected: see rejections.xlsx, mend it and drop it again."
                                             if counts["rows_rejected"] else "")  # fmt: skip
    sheets = [Sheet("Orders", papers.orders)]
    if len(papers.confirmed) <= most_codes:
        sheets.append(Sheet("Codes", papers.confirmed))
    else:
        facts.append(("Where the codes are", "in confirmation.csv; there are too many of them for a workbook"))
    advice = advice.strip() or "Nothing is left for you to do."
    workbooks.write(path, Book("Order confirmation", advice, facts, sheets))


def _rejections(path: Path, answer: Answers, rows: pl.DataFrame, original: Path | None, mender: Mender) -> None:
    event = answer.events.row(0, named=True)
    findings = in_order(answer.findings)
    whole = findings.filter(pl.col("row") == 0)
    marks = _marks(answer)
    counts = findings.group_by("reason", maintain_order=True).len()
    words = pl.col("reason").replace_strict({code: reason.words for code, reason in REASONS.items()}, return_dtype=pl.String)
    what = counts.select(Reason="reason", Count=pl.col("len").cast(pl.Int64), words=words).rename({"words": "What to fix"})
    found = [("Found", f"{row['value']}") for row in whole.iter_rows(named=True) if row["value"]]
    facts: list[tuple[str, Any]] = [("File", event["file"]), ("Rows rejected", len(answer.rejected)), *found]
    advice = "Mend the marked cells of the sheet Orders, save, and drop this workbook again. The last three columns may stay."
    if len(marks) > workbooks.NOTED or rows.height * rows.width > workbooks.SMALL:
        advice += " There are too many rows for notes on the cells; the columns Reason and What to fix name every one."
    if answer.rejected.is_empty():
        advice = "Nothing of it was placed. Correct the file as said below and drop it again."
        workbooks.write(path, Book("The file could not be used", advice, facts, [], what))
        return
    book = Book("Rejected orders", advice, facts, [Sheet("Orders", rows, marks)], what)
    if original is None or not mender.write_own(path, book, original):
        workbooks.write(path, book)


def _marks(answer: Answers) -> pl.DataFrame:
    """The cells at fault: `index` of the row among the rejected, `column` (header), `note`."""
    place = answer.rejected.select("row").with_row_index("index")
    told = _worded(answer.findings.filter(pl.col("column_name").is_in(NAMES)))
    told = told.with_columns(note=pl.format("{}: {}", "reason", "words"))
    placed = told.join(place, on="row", maintain_order="left").group_by("index", "column_name", maintain_order=True)
    notes = placed.agg(pl.col("note").unique(maintain_order=True).str.join("\n"))
    return notes.select("index", column=pl.col("column_name").replace_strict(HEADERS, return_dtype=pl.String), note="note")


def counted(answer: Answers) -> dict[str, Any]:
    """The figures of an event, as `cards run --json` has them."""
    keys = ["account", "order_ref"]
    rejected = answer.rejected
    if len(rejected):
        rejected = rejected.join(answer.orders.select(keys), on=keys, how="anti")
    return {
        "orders_placed": len(answer.orders),
        "orders_already_placed": len(answer.repeats),
        "orders_rejected": rejected.n_unique(keys) if len(rejected) else 0,
        "codes_placed": len(answer.codes),
        "rows": answer.events["rows"].item(),
        "rows_rejected": len(answer.rejected),
        "reasons": reasons(answer),
    }


def reasons(answer: Answers) -> dict[str, int]:
    """In how many rows each reason was found."""
    if answer.findings.is_empty():  # most files, and frames of nothing take their time too
        return {}
    return dict(answer.findings.group_by("reason").agg(pl.col("row").n_unique()).sort("reason").iter_rows())
