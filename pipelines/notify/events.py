"""What is worth telling, and in which words: pure functions from frames to notices."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from pipelines.common.masking import mask_codes
from pipelines.common.printable import printable
from pipelines.common.words import count
from schemas import sources
from schemas.notices import KINDS, OPERATOR, NoticeKind

NOTICES: Final = pl.Schema(dict.fromkeys(["kind", "subject", "recipient", "words"], pl.String))
"""A frame of notices: what kind of thing, about what (with the kind and the recipient, what distinguishes it from
all others), for whom, and in which words."""
_LINES: Final = 20
_LONGEST: Final = 500
_REASONS: Final = 3
_MARKS: Final = str.maketrans("<>@[]`|*", "________")
"""What services take for links, mentions and markup, which a file's name may hold."""
_EXAMPLES: Final = 5


class Notice(NamedTuple):
    """A row of a frame of notices."""

    kind: NoticeKind
    subject: str
    recipient: str
    words: str


def notices(rows: Sequence[Notice]) -> pl.DataFrame:
    """A frame of these notices."""
    return pl.DataFrame(rows, NOTICES, orient="row")


NONE: Final = notices([])


def plain(words: str) -> str:
    """Words that can be sent out: every code masked, in one line, without anything that a service would follow."""
    return mask_codes(printable(words)).translate(_MARKS)[:_LONGEST]


def _counted(number: str, one: str, many: str = "") -> pl.Expr:
    """As `count`, of a column."""
    column = pl.col(number)
    return pl.when(column == 1).then(pl.lit(f"1 {one}")).otherwise(pl.format(f"{{}} {many or f'{one}s'}", column))


def _notices_of(
    rows: pl.DataFrame, kind: NoticeKind, subject: str | pl.Expr, recipient: str | pl.Expr, words: pl.Expr
) -> pl.DataFrame:
    """A notice for each row. `recipient`: a column; OPERATOR is the operator."""
    to = pl.lit(OPERATOR) if isinstance(recipient, str) and recipient == OPERATOR else recipient
    frame = rows.select(kind=pl.lit(str(kind)), subject=subject, recipient=to, words=words)
    return frame.cast(NOTICES)


# -- files ---------------------------------------------------------------------------------------------------------------


def with_reasons(files: pl.DataFrame, reasons: pl.DataFrame) -> pl.DataFrame:
    """Events with their `reasons` (`event`, `reason`, `rows`): the most frequent ones as text, whether one of them is the quota
    (`is_over_quota`), and how many rows just wait for approval (`rows_on_hold`), which are not rejected then.
    """
    on_hold, rows = pl.col("reason") == "ORDER_ON_HOLD", pl.col("rows")
    shown = pl.format("{} {}", "reason", "rows").filter(~on_hold)
    more = pl.when((~on_hold).sum() > _REASONS).then(pl.lit(" …")).otherwise(pl.lit(""))
    ordered = reasons.sort("event", "rows", "reason", descending=[False, True, False])
    each = ordered.group_by("event", maintain_order=True).agg(
        reasons=pl.concat_str(shown.head(_REASONS).str.join(", "), more),
        is_over_quota=(pl.col("reason") == "QUOTA_EXCEEDED").any(),
        rows_on_hold=rows.filter(on_hold).sum(),
    )
    both = files.join(each, left_on="original_event", right_on="event", how="left", maintain_order="left").with_columns(
        pl.col("reasons").fill_null(""), pl.col("is_over_quota").fill_null(False), pl.col("rows_on_hold").fill_null(0)
    )
    return both.with_columns(pl.col("rows_rejected") - pl.col("rows_on_hold"))


def of_files(files: pl.DataFrame) -> pl.DataFrame:
    """Order files that were answered: `source`, `file_name`, `folder`, `rows`, `orders_placed`, `orders_already_placed`,
    `rows_rejected`, `rows_on_hold`, how many findings are about the `whole` file, and `reasons` in words. The subject is the
    folder, whose name no other gets.
    """
    subject, where = pl.format("{}/{}", "source", "folder"), pl.format("See outbox/{}/{}", "source", "folder")
    is_rejected = (pl.col("rows_rejected") > 0) | (pl.col("whole") > 0)
    orders = pl.concat_str(
        _counted("orders_placed", "order"),
        pl.lit(" placed"),
        _if_any("orders_already_placed", pl.format(", {} already placed", "orders_already_placed")),
        _if_any("rows_on_hold", pl.format(", {} for approval", _counted("rows_on_hold", "row waits", "rows wait"))),
    )
    rejected = (
        pl.when(pl.col("whole") > 0).then(pl.format("was rejected as a whole ({})", "reasons"))
        .otherwise(pl.format("was answered: {}, {} of {} rejected ({})", orders, "rows_rejected", _counted("rows", "row"),
                             "reasons"))
    )  # fmt: skip
    words = pl.format("{} {}. {}", "file_name", rejected, where)
    bad, good = files.filter(is_rejected), files.filter(~is_rejected, pl.col("source") != sources.OPERATOR)
    return pl.concat([
        _notices_of(bad, NoticeKind.FILE_REJECTED, subject, OPERATOR, pl.format("{}: {}", "source", words)),
        _notices_of(bad.filter(pl.col("source") != sources.OPERATOR), NoticeKind.FILE_REJECTED, subject, "source", words),
        _notices_of(good, NoticeKind.FILE_ANSWERED, subject, "source",
                    pl.format("{} was answered: {}. {}", "file_name", orders, where)),
    ])  # fmt: skip


def _if_any(number: str, words: pl.Expr) -> pl.Expr:
    return pl.when(pl.col(number) > 0).then(words).otherwise(pl.lit(""))


def over_quota(files: pl.DataFrame) -> pl.DataFrame:
    """Resellers some of whose orders were over the quota of codes (`source`, `at`, `is_over_quota`)."""
    over = files.filter("is_over_quota").with_columns(day=pl.col("at").str.head(10))
    return _quota(over.select(reseller="source", day="day", what=pl.lit("codes; further orders of today are rejected")))


def over_budget(usage: pl.DataFrame, most: dict[str, int]) -> pl.DataFrame:
    """Resellers that have used up a budget of the day (see USAGE) after which their files wait; `most`: the budgets."""
    names = {"files": "files", "bytes": "bytes", "parse_ms": "time for parsing"}
    parts = [
        usage.filter(pl.col(name) >= most[name]).select("reseller", "day", what=pl.lit(f"{words}; further files wait"))
        for name, words in names.items()
    ]
    return _quota(pl.concat(parts))


def _quota(over: pl.DataFrame) -> pl.DataFrame:
    subject = pl.format("{} {} {}", "reseller", "day", pl.col("what").str.extract(r"^(\w+)"))
    words = pl.format("the quota of {} is used up: {}", "day", "what")
    return pl.concat([
        _notices_of(over, NoticeKind.OVER_QUOTA, subject, OPERATOR, pl.format("{}: {}", "reseller", words)),
        _notices_of(over.filter(pl.col("reseller") != sources.OPERATOR), NoticeKind.OVER_QUOTA, subject, "reseller", words),
    ])  # fmt: skip


def late_answers(events: pl.DataFrame) -> pl.DataFrame:
    """Events that are not delivered though they should be (`kind`, `source`, `file_name`, `folder`, `at`)."""
    words = pl.format("the answer to {} of {} (committed at {}) is not written. The next run tries again; cards run says why",
                      "file_name", "source", "at")  # fmt: skip
    return _notices_of(events, NoticeKind.ANSWER_LATE, pl.format("{}/{}", "source", "folder"), OPERATOR, words)


# -- what waits for people -----------------------------------------------------------------------------------------------


def orders_on_hold(holds: pl.DataFrame) -> pl.DataFrame:
    """Orders that wait for approval (`hold`, `account`, `customer_order_id`, `codes`, `source`)."""
    subject = pl.format("{} {} {}", "account", "customer_order_id", "hold")
    words = pl.format("order {} of account {} asks for {}", "customer_order_id", "account", _counted("codes", "code"))
    waits = pl.lit(" and waits for the operator's approval")
    how = pl.format(" and waits. Decide with cards approve H{} or cards reject H{}", "hold", "hold")
    return pl.concat([
        _notices_of(holds, NoticeKind.ORDER_ON_HOLD, subject, OPERATOR, pl.concat_str("source", pl.lit(": "), words, how)),
        _notices_of(holds.filter(pl.col("source") != sources.OPERATOR), NoticeKind.ORDER_ON_HOLD, subject, "source",
              pl.concat_str(words, waits)),
    ])  # fmt: skip


def resellers_on_hold(holds: pl.DataFrame) -> pl.DataFrame:
    """Resellers on hold (`reseller`, `at`, `reason`)."""
    subject = pl.format("{} {}", "reseller", "at")
    words = pl.format("on hold since {}: {}", "at", "reason")
    return pl.concat([
        _notices_of(holds, NoticeKind.RESELLER_ON_HOLD, subject, OPERATOR,
              pl.format("{} is {}. cards clear-hold {} lifts it", "reseller", words, "reseller")),
        _notices_of(holds, NoticeKind.RESELLER_ON_HOLD, subject, "reseller",
              pl.format("your files that name codes are {}. Ask the operator", words)),
    ])  # fmt: skip


def nearly_full(btns: pl.DataFrame) -> pl.DataFrame:
    """BTNs that are nearly full (`btn`, `free`, `reseller`)."""
    words = pl.format("BTN {} has {} left", "btn", _counted("free", "PIN"))
    subject = pl.col("btn").cast(pl.String)
    return pl.concat([
        _notices_of(btns, NoticeKind.BTN_NEARLY_FULL, subject, OPERATOR, words),
        _notices_of(btns.filter(pl.col("reseller") != ""), NoticeKind.BTN_NEARLY_FULL, subject, "reseller", words),
    ])  # fmt: skip


# -- the network and its nights ------------------------------------------------------------------------------------------


def of_reports(reports: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
    """Network reports that are not used (`event`, `file_name`, `folder`, `readable`, `reasons`); `waiting`: those that wait for
    approval (`event`, `about`).
    """
    on_hold = reports.join(waiting, on="event")
    rejected = reports.join(waiting, on="event", how="anti").filter((pl.col("readable") == 0) & (pl.col("reasons") != ""))
    return pl.concat([
        _notices_of(rejected, NoticeKind.REPORT_REJECTED, "folder", OPERATOR,
              pl.format("network report {} can't be used ({}). See outbox/network/{}", "file_name", "reasons", "folder")),
        _notices_of(on_hold, NoticeKind.REPORT_ON_HOLD, "folder", OPERATOR,
              pl.format("network report {} waits: {}. cards approve {} or cards reject {}", "file_name", "about", "folder",
                        "folder")),
    ])  # fmt: skip


_CARDS: Final = (
    ("release", NoticeKind.RELEASE_READY, "card is safe to print", "cards are safe to print"),
    ("outcome", NoticeKind.OUTCOME_READY, "card was dealt with", "cards were dealt with"),
)
"""The kinds of files that nights write for orders, and what they say of cards."""


def of_order_files(files: pl.DataFrame) -> pl.DataFrame:
    """What nights wrote for orders (`event`, `kind`, `source`, `files`, `cards`, `order_id`, `folder` of the night): for each
    reseller, and all together for the operator.
    """
    parts = [NONE]
    for kind, notice, *cards in _CARDS:
        mine = files.filter(kind=kind)
        every = mine.group_by("folder", maintain_order=True).agg(
            pl.col("files", "cards").sum(), pl.col("source").n_unique(), pl.col("order_id").first()
        )
        orders = pl.format("{} ({}{})", _counted("files", "order"), _first("files"), "order_id")
        words = pl.format("{}: {}. outbox/{}/index.csv lists the {} files", orders, _counted("cards", *cards), "source",
                          pl.lit(kind))  # fmt: skip
        of_all = pl.format("{} of {}: {}", orders, _counted("source", "reseller"), _counted("cards", *cards))
        parts += [
            _notices_of(every, notice, "folder", OPERATOR, of_all),
            _notices_of(mine.filter(pl.col("source") != sources.OPERATOR), notice, "folder", "source", words),
        ]
    return pl.concat(parts)


def _first(number: str) -> pl.Expr:
    return pl.when(pl.col(number) > 1).then(pl.lit("the first: ")).otherwise(pl.lit(""))


def overdue(nights: pl.DataFrame) -> pl.DataFrame:
    """Nights that left orders overdue (`date` as people write it, `awaited`, `overdue`)."""
    words = pl.format("{} overdue at the network, of {} that await it. cards orders --overdue lists them",
                      _counted("overdue", "order is", "orders are"), "awaited")  # fmt: skip
    return _notices_of(nights.filter(pl.col("overdue") > 0), NoticeKind.ORDERS_OVERDUE, "date", OPERATOR, words)


def without_report(nights: pl.DataFrame) -> pl.DataFrame:
    """Nights before which no report came though orders await one (`date`, `awaited`, `last`: when one last came)."""
    last = pl.when(pl.col("last") == "").then(pl.lit("none has ever come")).otherwise(pl.format("the last came at {}", "last"))
    words = pl.format("no network report came in the 24 hours before the night ({}), and {} it", last,
                      _counted("awaited", "order awaits", "orders await"))  # fmt: skip
    return _notices_of(nights.filter(pl.col("awaited") > 0), NoticeKind.NO_REPORT, "date", OPERATOR, words)


def night_failed(at: datetime, error: str) -> Notice:
    """A night that ended with an error, or could not write something."""
    subject = f"{at:%Y-%m-%d} {_digest(error)}"
    return Notice(NoticeKind.NIGHT_FAILED, subject, OPERATOR, f"the night of {at:%Y-%m-%d} failed: {error}")


def night_missing(now: datetime, last: str) -> Notice:
    """No night ran for too long; `last`: when one last did (empty: never)."""
    words = f"the last one was at {last}" if last else "none has ever run"
    return Notice(
        NoticeKind.NIGHT_MISSING,
        f"{now:%Y-%m-%d}",
        OPERATOR,
        f"no night has run for 26 hours ({words}), and orders wait for it",
    )


# -- this machine --------------------------------------------------------------------------------------------------------


def registry_unreachable(since: str, error: str) -> Notice:
    """The registry has been out of reach since a time."""
    return Notice(NoticeKind.REGISTRY_UNREACHABLE, since, OPERATOR, f"since {since}: {error} No file is answered meanwhile")


def registry_back(since: str, now: datetime) -> Notice:
    """The registry can be reached again."""
    words = f"it was out of reach from {since} to {now.isoformat(timespec='seconds')}"
    return Notice(NoticeKind.REGISTRY_BACK, since, OPERATOR, words)


def disk_nearly_full(now: datetime, free: int, total: int) -> Notice:
    """The disk of the home has little left (bytes)."""
    words = f"the disk of the home has {free / 2**30:.1f} GB free of {total / 2**30:.1f} GB"
    return Notice(NoticeKind.DISK_NEARLY_FULL, f"{now:%Y-%m-%d}", OPERATOR, words)


def verify_findings(now: datetime, findings: Sequence[tuple[str, str]]) -> list[Notice]:
    """What `cards verify` found (what, where), in one notice."""
    if not findings:
        return []
    examples = "; ".join(f"{what}: {where}" for what, where in findings[:_EXAMPLES])
    words = f"cards verify found {count(len(findings), 'problem')}: {examples}{'; …' if len(findings) > _EXAMPLES else ''}"
    subject = f"{now:%Y-%m-%d} {_digest(*(f'{what} {where}' for what, where in findings))}"
    return [Notice(NoticeKind.VERIFY_FINDING, subject, OPERATOR, words)]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


# -- messages ------------------------------------------------------------------------------------------------------------


class Message(NamedTuple):
    """What is sent: everything that waits for a channel and a recipient."""

    title: str
    body: str


def message(waiting: pl.DataFrame) -> Message:
    """One message for notices (`kind`, `words`): how many of each kind, and the first ones, the most urgent first."""
    order = {str(kind): place for place, kind in enumerate(KINDS)}
    ordered = waiting.with_columns(place=pl.col("kind").replace_strict(order, default=len(order))).sort(
        "place", maintain_order=True
    )
    counts = ordered.group_by("kind", maintain_order=True).len().iter_rows()
    title = ", ".join(_several(kind, number) for kind, number in counts)
    lines = [f"- {kind}: {words}" for kind, words in ordered.head(_LINES).select("kind", "words").iter_rows()]
    if len(ordered) > _LINES:
        lines.append(f"and {len(ordered) - _LINES:,} more")
    return Message(f"cards: {title}", "\n".join(lines))


def _several(kind: str, number: int) -> str:
    known = KINDS.get(NoticeKind(kind)) if kind in {str(one) for one in NoticeKind} else None
    return kind if number == 1 else f"{number:,} {known.many if known else kind}"
