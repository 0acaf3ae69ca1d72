"""The main job: the whole way of an order file, from the inbox to its submission folder.

ready files → read → split(well-formed, rejected) → group into orders → split(known to the catalogue and the
registry, rejected) → draw and de-duplicate → commit → answer → archive.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from pipelines import inbox, known, outbox, placing, reports, validate
from pipelines.errors import ConflictError, UsageError
from pipelines.inbox import Drop
from pipelines.readers import Parser, Table, missing, read
from pipelines.registry import Placed, Registry
from pipelines.settings import Settings
from pipelines.world import World
from schemas import actions, orders
from schemas.orders import HEADERS, NAMES, RANDOM
from schemas.reasons import REASONS

_BATCH_BYTES: Final = 256 << 20
_TRIES: Final = 20


class File(NamedTuple):
    """A file of the sweep: its number there, where it lies, what it holds, and the event that answered it before."""

    number: int
    drop: Drop
    digest: str
    table: Table
    answers: int = 0


class Sweep(NamedTuple):
    """Some files in shared frames, and all that can be said of them without the registry.

    `rows`: a line each, canonical, with `line`, `file`, `row`, `order`; `raw`: the same lines as they came;
    `orders`: see `validate.grouped`; `codes`: `line`, `order`, `file`, `code`; `findings`: see `validate.FINDINGS`;
    `faults`: `file`, `reason`, `value` of what concerns a whole file.
    """

    files: list[File]
    raw: pl.DataFrame
    rows: pl.DataFrame
    orders: pl.DataFrame
    codes: pl.DataFrame
    findings: pl.DataFrame
    faults: pl.DataFrame

    def only(self, files: list[File]) -> "Sweep":
        """The part of the sweep that concerns these files."""
        if len(files) == len(self.files):
            return self._replace(files=files)
        mine = pl.col("file").is_in([file.number for file in files])
        rows = self.rows.filter(mine)
        parts = [frame.filter(mine) for frame in (self.raw, self.orders, self.codes, self.faults)]
        found = self.findings.join(rows.select("line"), on="line", how="semi")
        return Sweep(files, parts[0], rows, parts[1], parts[2], found, parts[3])


class Decision(NamedTuple):
    """What becomes of a sweep: `orders` with `fate` (placed, already, rejected) and, where it is already placed, its
    `order_no`; `codes` and `touches` of placed orders (`order`, `code`); `rejected` lines with all `findings`.
    """

    orders: pl.DataFrame
    codes: pl.DataFrame
    touches: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame


def process_inbox(
    settings: Settings, registry: Registry, world: World = World(), senders: Callable[[str], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """Answer every ready order file; what became of each, see `outbox.deliver`.

    What an earlier run left half answered is finished first. A file that another worker takes meanwhile is left
    to it.
    """
    told = [one for one in outbox.finish(settings, registry, world) if "reseller" in one]  # not a dead night's reports
    drops = inbox.ready(settings.inbox, settings.settle_seconds, lambda sender: sender != inbox.NETWORK and senders(sender))
    with Parser(settings) as parser:
        for batch in _batches(drops):
            sweep = prepare(_taken(batch, parser, settings, registry, world), settings)
            for wave in _waves(sweep, settings):
                events = _enter(sweep.only(wave), registry, world)
                told += outbox.deliver(settings, registry, events, world)
    return told


def _batches(drops: list[Drop]) -> Iterator[list[Drop]]:
    """The files in portions that fit into memory together."""
    batch: list[Drop] = []
    size = 0
    for drop in drops:
        if batch and size + drop.size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(drop)
        size += drop.size
    if batch:
        yield batch


def _taken(drops: list[Drop], parser: Parser, settings: Settings, registry: Registry, world: World) -> list[File]:
    """The files with what they hold; those that were answered before are not read again."""
    files: list[File] = []
    for done, drop in enumerate(drops):
        world.progress("reading", done, len(drops))
        content = inbox.content_of(drop, settings.max_file_mb << 20)
        if content is None:
            continue
        digest = inbox.digest_of(content)
        seen = registry.seen(pl.DataFrame({"sender": [drop.sender], "digest": [digest]}))
        if len(seen) and not seen["answered"].item():
            continue  # another worker is at it
        if len(seen):
            files.append(File(len(files), drop, digest, _UNREAD, seen["answers"].item()))
        else:
            files.append(File(len(files), drop, digest, read(content, parser, settings, NAMES, orders.BY_HEADER)))
        world.step("read")
    world.progress("reading", len(drops), len(drops))
    return files


_UNREAD: Final = Table(
    pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(NAMES, pl.String)}), [], [],
    pl.DataFrame(schema={"row": pl.UInt32, "column": pl.String, "reason": pl.String, "value": pl.String}), [],
)  # fmt: skip


def prepare(files: list[File], settings: Settings) -> Sweep:
    """All that can be said of files without the catalogue and the registry."""
    number = [pl.lit(file.number, pl.UInt32).alias("file") for file in files]
    schema = {"line": pl.UInt32, "row": pl.UInt32, **dict.fromkeys(NAMES, pl.String), "file": pl.UInt32}
    tables = [file.table.rows.with_columns(name) for file, name in zip(files, number, strict=True)]
    raw = pl.concat(tables).with_row_index("line").select(*schema) if tables else pl.DataFrame(schema=schema)
    told = [file.table.faults.with_columns(name) for file, name in zip(files, number, strict=True)]
    lacking = [_missing(file.table).with_columns(name) for file, name in zip(files, number, strict=True)]
    faults = pl.concat([*told, *lacking]) if files else _UNREAD.faults.with_columns(file=pl.lit(0, pl.UInt32))

    of_cells = faults.filter(pl.col("column") != "").join(raw.select("file", "row", "line"), on=["file", "row"])
    of_cells = pl.concat([of_cells.select("line", "column", "reason", "value"), validate.cells(raw)])
    rows = validate.canonical(raw)
    found, rows = validate.grouped(rows)
    codes, about_codes = validate.listed(rows)
    told_by_rows = pl.concat(
        [
            validate.alone(rows, settings.max_quantity),
            validate.together(rows),
            about_codes,
            validate.repeated(codes),
        ]
    )
    return Sweep(
        files, raw, rows, found, codes, pl.concat([of_cells, _still_meant(told_by_rows, of_cells)]),
        faults.filter(pl.col("column") == "").select("file", "reason", "value"),
    )  # fmt: skip


def _missing(table: Table) -> pl.DataFrame:
    """COLUMN_MISSING faults: what every order needs, what an Add needs, and something that names or counts cards."""
    if not table.titles:
        return _UNREAD.faults
    adds = table.rows["action"].is_null().any() or table.rows["action"].str.to_lowercase().is_in(["add", "a"]).any()
    required = ["account", "order_ref", *(["product", "access_number"] if adds else [])]
    if not {"code", "quantity", "target"} & set(table.found):
        required.append("code")
    return missing(table, {name: HEADERS[name] for name in required})


def _still_meant(findings: pl.DataFrame, of_cells: pl.DataFrame) -> pl.DataFrame:
    """The findings without those that only follow from a cell that can't be read."""
    follows = of_cells.filter(pl.col("column").is_in(["code", "quantity", "btn"])).with_columns(column=pl.lit("code_type"))
    unread = pl.concat([of_cells, follows]).select("line", "column")
    return findings.join(unread, on=["line", "column"], how="anti", maintain_order="left")


def _waves(sweep: Sweep, settings: Settings) -> Iterator[list[File]]:
    """The files in waves in which no two want the same order ID, code or content, so that each can be decided with
    all others of its wave; who came first goes first.
    """
    order_keys = sweep.orders.select("file", key=pl.concat_str("account", pl.lit(" "), "order_ref"))
    digests = pl.DataFrame(
        {"file": [file.number for file in sweep.files], "key": [f"{file.drop.sender}/{file.digest}" for file in sweep.files]},
        {"file": pl.UInt32, "key": pl.String},
    )
    keys = [
        pl.concat([order_keys, digests]).drop_nulls().unique(maintain_order=True),
        sweep.codes.select("file", key="code").unique(maintain_order=True),
    ]
    quantity = pl.col("quantity").cast(pl.Int64, strict=False).sum()
    drawn = dict(sweep.rows.group_by("file").agg(quantity).iter_rows())
    left = sweep.files
    while left:
        late = {number for frame in keys for number in _late(frame)}
        wave: list[File] = []
        total = 0
        for file in left:
            total += min(drawn.get(file.number) or 0, settings.max_quantity)
            if file.number not in late and (not wave or total <= settings.max_quantity):
                wave.append(file)
        yield wave
        gone = [file.number for file in wave]
        left = [file for file in left if file.number not in set(gone)]
        keys = [frame.filter(~pl.col("file").is_in(gone)) for frame in keys]


def _late(keys: pl.DataFrame) -> list[int]:
    """Files that want something which an earlier file wants."""
    return keys.filter(pl.col("file") > pl.col("file").min().over("key"))["file"].unique().to_list()


def _enter(sweep: Sweep, registry: Registry, world: World) -> dict[int, Drop]:
    """Decide a wave and enter it, file by file; the events and where their originals lie."""
    parts = _by_file(sweep, decide(sweep, registry, world))
    world.step("decided")
    events: dict[int, Drop] = {}
    for file in sweep.files:
        placed = placed_of(file, parts, world)
        for left in reversed(range(_TRIES)):
            if not inbox.same(file.drop):
                break  # gone, or another by now: not the file that was decided
            try:
                events[registry.commit_file(placed)] = file.drop
                break
            except ConflictError:
                if not left:
                    raise
                alone = sweep.only([_again(file, registry)])
                placed = placed_of(alone.files[0], _by_file(alone, decide(alone, registry, world)), world)
        world.step("committed")
    return events


def _again(file: File, registry: Registry) -> File:
    """The file after a conflict: another worker may have answered it meanwhile."""
    seen = registry.seen(pl.DataFrame({"sender": [file.drop.sender], "digest": [file.digest]}))
    return file._replace(answers=seen["answers"].item()) if len(seen) else file


def decide(sweep: Sweep, registry: Registry, world: World) -> Decision:
    """What becomes of each order of a sweep, and the codes of those that can be placed."""
    accounts, access_numbers = registry.catalogue()
    mine = known.of_senders(accounts, _senders(sweep.files))
    before = _placed_before(sweep, mine, registry)
    already = before.filter(
        (pl.col("content") == pl.col("content_placed")) & ~pl.col("file").is_in(sweep.faults["file"].implode())
    )
    rows = _with_units(sweep, mine).join(already.select("order"), on="order", how="anti", maintain_order="left")
    codes = sweep.codes.join(rows.select("line", "action", "account"), on="line", maintain_order="left")
    asked = codes.filter(pl.col("action").is_in(actions.issuing()))
    taken, lacking = _cards_taken(rows, codes, registry)
    burnt = registry.taken_under(known.demands(rows)["btn"])
    used = before.filter(pl.col("content") != pl.col("content_placed")).select("order")

    found = pl.concat(
        [
            sweep.findings.join(rows.select("line"), on="line", how="semi", maintain_order="left"),
            known.catalogue(rows, mine, access_numbers),
            validate.rule(rows.join(used, on="order", how="semi"), _EACH, "ORDER_ID_USED", "order_ref"),
            known.codes_taken(asked, registry.taken(asked["code"])),
            lacking,
        ]
    )
    found = pl.concat([found, known.pins_left(rows, asked, burnt, _bad(rows, found, sweep.faults))])
    bad = rows["unit"].is_in(_bad(rows, found, sweep.faults).implode())
    good, rejected = rows.filter(~bad), rows.filter(bad)
    held = rejected.join(found, on="line", how="anti").join(sweep.faults, on="file", how="anti")
    found = pl.concat([found, held.select("line", column=pl.lit(""), reason=pl.lit("ORDER_HELD"), value=pl.lit(""))])
    issued = _issued(good, asked, burnt, registry, world)
    touches = taken.join(good.select("line", "order"), on="line").select("order", "code")
    return Decision(_fates(sweep.orders, already, good, issued, touches), issued, touches,
                    sweep.raw.join(rejected.select("line"), on="line", how="semi", maintain_order="left"),
                    _as_written(found, sweep.raw))  # fmt: skip


_EACH: Final = pl.lit(value=True)


def _senders(files: list[File]) -> pl.DataFrame:
    senders = [(file.number, file.drop.sender, file.drop.sender == inbox.HOUSE) for file in files]
    return pl.DataFrame(senders, {"file": pl.UInt32, "sender": pl.String, "house": pl.Boolean}, orient="row")


def _placed_before(sweep: Sweep, mine: pl.DataFrame, registry: Registry) -> pl.DataFrame:
    """Orders of which the account has one with the same Customer Order ID: `order_no` and `content_placed` of it."""
    own = sweep.orders.join(mine, on=["file", "account"], how="semi", maintain_order="left").drop_nulls("order_ref")
    placed = registry.orders_of(own.select("account", "order_ref"))
    return own.join(placed, on=["account", "order_ref"], suffix="_placed", maintain_order="left")


def _with_units(sweep: Sweep, mine: pl.DataFrame) -> pl.DataFrame:
    """The rows with their `unit`, which is placed whole or not at all: the order, or for resellers that accept
    orders in part the row.
    """
    partial = mine.filter(pl.col("acceptance") == "partial").select("file", "account", partial=True).unique()
    rows = sweep.rows.join(partial, on=["file", "account"], how="left", maintain_order="left")
    return rows.with_columns(unit=pl.when("partial").then("line").otherwise(pl.col("line").first().over("order")))


def _bad(rows: pl.DataFrame, found: pl.DataFrame, faults: pl.DataFrame) -> pl.Series:
    """Units that have a finding, or lie in a file that is refused as a whole."""
    refused = pl.col("line").is_in(found["line"].implode()) | pl.col("file").is_in(faults["file"].implode())
    return rows.filter(refused)["unit"].unique()


def _cards_taken(rows: pl.DataFrame, codes: pl.DataFrame, registry: Registry) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cards that rows take, by code or by Order ID (`line`, `code`), and findings about them."""
    takes = ~pl.col("action").is_in(actions.issuing())
    by_order = rows.filter(takes & pl.col("target").is_not_null()).select("line", "action", "account", "target")
    under = registry.cards_under(by_order.select("account", order_id="target"))
    targeted = by_order.join(under, left_on=["account", "target"], right_on=["account", "order_id"], how="left")
    asked = pl.concat([codes.filter(takes).select("line", "action", "account", "code"),
                       targeted.drop_nulls("code").select("line", "action", "account", "code")])  # fmt: skip
    nothing = validate.rule(targeted.filter(pl.col("code").is_null()), _EACH, "CARD_UNKNOWN", "target")
    found = pl.concat([known.cards(asked.sort("line"), registry.cards(asked["code"])), nothing])
    return asked.select("line", "code"), found


def _issued(good: pl.DataFrame, asked: pl.DataFrame, burnt: pl.DataFrame, registry: Registry, world: World) -> pl.DataFrame:
    """The new codes of the orders that are placed: `order`, `code`."""
    chosen = asked.join(good.select("line"), on="line", how="semi").select("order", "code")
    of = good.select("line", "order")
    gone = pl.concat([burnt["code"], chosen["code"]])
    dialled = placing.draw_pins(known.demands(good), gone, world.source).join(of, on="line").select("order", "code")
    wanted = good.filter(pl.col("code_type") == RANDOM).select("order", quantity=pl.col("quantity").cast(pl.Int64))
    each = wanted.select(pl.col("order").repeat_by("quantity")).explode("order", empty_as_null=False)
    drawn = placing.draw(len(each), registry.taken, pl.concat([chosen, dialled])["code"], world.source)
    return pl.concat([chosen, dialled, each.with_columns(code=drawn)])


def _fates(
    found: pl.DataFrame, already: pl.DataFrame, good: pl.DataFrame, issued: pl.DataFrame, touches: pl.DataFrame
) -> pl.DataFrame:
    """The orders with their `fate`; `rows` and `cards` count what is placed of them."""
    placed = good.group_by("order").agg(pl.len().cast(pl.Int64).alias("placed"))
    counts = pl.concat([issued, touches]).group_by("order").agg(pl.len().cast(pl.Int64).alias("cards"))
    told = found.join(already.select("order", "order_no"), on="order", how="left", maintain_order="left")
    told = told.join(placed, on="order", how="left", maintain_order="left")
    told = told.join(counts, on="order", how="left", maintain_order="left")
    fate = pl.when(pl.col("order_no").is_not_null()).then(pl.lit("already")).when(pl.col("placed") > 0).then(pl.lit("placed"))
    return told.with_columns(fate=fate.otherwise(pl.lit("rejected")), rows=pl.coalesce("placed", "rows"))


def _as_written(found: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """The findings with what stands in the sender's own cell; of several codes in a cell the one that is meant."""
    cells = found.join(raw.select("line", "row", "file", *NAMES), on="line", maintain_order="left")
    written = pl.coalesce(
        *(pl.when(pl.col("column") == name).then(name) for name in NAMES if name != "code"), "value", pl.lit("")
    )
    kept = pl.col("reason") == "CELL_CHARACTER"
    kept |= pl.col("reason") == "CELL_FORMULA"
    return cells.select("line", "file", "row", "column", "reason", value=pl.when(kept).then("value").otherwise(written))


Parts = dict[str, dict[tuple[Any, ...], pl.DataFrame]]


def _by_file(sweep: Sweep, decision: Decision) -> Parts:
    """The decision in frames of one file each, as the registry takes them."""
    found = decision.orders
    of = found.select("order", "file")
    about_files = sweep.faults.select("file", "reason", "value", row=pl.lit(0), column_name=pl.lit(""))
    about_rows = decision.findings.select("file", "reason", "value", "row", column_name="column")
    frames = {
        "orders": found.filter(pl.col("fate") == "placed").with_columns(
            pl.col(pl.String).fill_null(""), pl.col("cards").fill_null(0)
        ),
        "codes": decision.codes.join(of, on="order"),
        "touches": decision.touches.join(of, on="order"),
        "repeats": found.filter(pl.col("fate") == "already").select("file", "order_no", "rows"),
        "rejected": decision.rejected.with_columns(pl.col(NAMES).fill_null("")).drop("line"),
        "findings": pl.concat([about_files, about_rows], how="vertical_relaxed"),
    }
    return {name: {**frame.partition_by("file", as_dict=True), (-1,): frame.clear()} for name, frame in frames.items()}


def placed_of(file: File, parts: Parts, world: World) -> Placed:
    """What the registry is to enter for a file; nothing but the event where the file was answered before."""
    refused = parts["findings"].get((file.number,), parts["findings"][-1,])["row"].eq(0).any()
    event = {
        "kind": "orders", "sender": file.drop.sender, "digest": file.digest, "file": outbox.shown(file.drop.path.name),
        "at": world.at(), "rows": len(file.table.rows), "notes": "\n".join(file.table.notes), "readable": int(not refused),
    }  # fmt: skip
    key = (-1,) if file.answers else (file.number,)
    mine = {name: frames.get(key, frames[-1,]) for name, frames in parts.items()}
    return Placed(event, file.answers, **mine)


def check(path: Path, sender: str, settings: Settings, registry: Registry) -> dict[str, Any]:
    """Everything that is wrong with a file, and what could be placed of it; nothing is.

    One document: `file`, `rows`, `orders_placed`, `orders_already_placed`, `orders_rejected`, and `findings`, each
    with `row` (0: the whole file), `column`, `reason`, `value` and `what_to_fix`.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file.")
    info = path.stat()
    drop = Drop(sender or inbox.HOUSE, path, info.st_size, info.st_mtime_ns, info.st_ino)
    with Parser(settings) as parser:
        content = inbox.content_of(drop, settings.max_file_mb << 20)
        file = File(0, drop, "", read(content or b"", parser, settings, NAMES, orders.BY_HEADER))
    sweep = prepare([file], settings)
    decision = decide(sweep, registry, World())
    fates = dict(decision.orders["fate"].value_counts().iter_rows())
    frames = _by_file(sweep, decision)["findings"]
    found = frames.get((0,), frames[-1,])
    return {
        "file": str(path), "rows": len(sweep.rows), "orders_placed": fates.get("placed", 0),
        "orders_already_placed": fates.get("already", 0), "orders_rejected": fates.get("rejected", 0),
        "findings": [
            {"row": row["row"], "column": HEADERS.get(row["column_name"], ""), "reason": row["reason"], "value": row["value"],
             "what_to_fix": REASONS[row["reason"]].words}
            for row in reports.in_order(found).iter_rows(named=True)
        ],
    }  # fmt: skip
