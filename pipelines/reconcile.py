"""The night: what was placed is compared with what the network holds.

reports at hand → read → split(well-formed, rejected) → states move, a transaction each → settle: what named orders lack
is refused, replacements are drawn → release and refused files, placement of the replacements, workbook.
"""

from typing import Any

import polars as pl

from pipelines import inbox, night_reports, outbox, placing, validate
from pipelines.errors import UnansweredError
from pipelines.inbox import Drop
from pipelines.readers import Parser, Table, missing, read
from pipelines.registry import Registry, nights
from pipelines.registry.nights import STATE, Verdict
from pipelines.settings import Settings
from pipelines.world import World
from schemas import actions, network
from schemas.orders import BTN4, NAMES, RANDOM


def reconcile(settings: Settings, registry: Registry, world: World = World()) -> dict[str, Any]:
    """Take every report at hand, settle what they name, and write the answers; what the night did.

    That is one document: `night`, `reports` (each as `taken` tells it; also those that a dead run left), and the figures
    of `night_reports.figures`. While another is at it there is just `night` and `already_running`. Running it again in
    the same night changes nothing and tells the same figures.
    """
    today = {"night": f"{world.now():%Y-%m-%d}"}
    with registry.alone() as alone:
        return {**today, **_night(settings, registry, world)} if alone else {**today, "already_running": True}


def _night(settings: Settings, registry: Registry, world: World) -> dict[str, Any]:
    left, failed = outbox.trapped(lambda: outbox.finish(settings, registry, world))
    more, wrong = outbox.trapped(lambda: taken(settings, registry, world))
    reports, failed = [one for one in left if "seen" in one] + more, failed or wrong
    night = int(world.now().strftime("%Y%m%d"))
    if nights.unsettled(registry) or nights.last(registry, night) is None:
        event = settle(night, settings, registry, world)
        world.step("settled")
        told = night_reports.write(settings, registry, nights.last(registry, night) or {})
        world.step("night written")
        registry.answered([event])
        world.step("answered")
    else:
        told = nights.told(registry, nights.last(registry, night) or {})
    if failed:
        raise failed
    return {"reports": reports, **night_reports.figures(settings, told)}


def taken(settings: Settings, registry: Registry, world: World) -> list[dict[str, Any]]:
    """Enter every report that is ready, oldest first, and archive it: `file`, `folder`, `rows`, `seen` (whether the same
    bytes came before) and `reasons` of one that is malformed and was not used.

    Raises UnansweredError, after all reports, when the folder of one could not be written.
    """
    told: list[dict[str, Any]] = []
    failed = None
    drops = inbox.ready(settings.inbox, settings.settle_seconds, lambda sender: sender == inbox.NETWORK)
    with Parser(settings) as parser:
        for done, drop in enumerate(drops, 1):
            content = inbox.content_of(drop, settings.max_file_mb << 20)
            if content is None:
                continue
            digest = inbox.digest_of(content)
            event = _enter(drop, digest, read(content, parser, settings, network.NAMES, network.BY_HEADER), registry, world)
            world.step("report entered")
            more, wrong = outbox.trapped(lambda: outbox.deliver(settings, registry, {event: drop}, world))  # noqa: B023
            told, failed = told + more, failed or wrong
            world.progress("reports", done, len(drops))
    if failed:
        raise UnansweredError(str(failed), told)
    return told


def _enter(drop: Drop, digest: str, table: Table, registry: Registry, world: World) -> int:
    """Enter one report: its verdict, or what is wrong with it."""
    rows, found = _judged(table)
    event = {
        "kind": "report", "sender": inbox.NETWORK, "digest": digest, "file": outbox.shown(drop.path.name), "at": world.at(),
        "rows": len(table.rows), "notes": "\n".join(table.notes), "readable": int(found.is_empty()),
    }  # fmt: skip
    with registry.transaction():
        seen = registry.seen(pl.DataFrame({"sender": [inbox.NETWORK], "digest": [digest]}))
        if len(seen):
            return registry.enter_event(event, seen["answers"].item())
        if len(found):
            return registry.enter_rejected(event, _as_order_rows(table, found), found)
        return nights.enter_report(registry, event, 0, verdict(rows, registry))


def _judged(table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a report (`order_id`, `code`), and findings: `row` (0: the whole file), `column_name`, `reason`,
    `value`.
    """
    lacking = (
        missing(table, {column.name: column.header for column in network.COLUMNS}) if table.titles else table.faults.clear()
    )
    faults = pl.concat([table.faults, lacking])
    lines = table.rows.with_row_index("line")
    _, found = validate.split(lines, network.REPORT)
    of_rows = found.join(lines.select("line", "row"), on="line", maintain_order="left").select(
        "row", "column", "reason", "value"
    )
    every = pl.concat([faults, of_rows]).select(
        pl.col("row").cast(pl.Int64), "reason", pl.col("value").fill_null(""),
        column_name=pl.col("column").replace({"order_id": "target"}),
    )  # fmt: skip
    return lines.select("order_id", "code"), every


def _as_order_rows(table: Table, found: pl.DataFrame) -> pl.DataFrame:
    """The rows at fault with the columns under which the registry keeps rejected rows."""
    rows = table.rows.filter(pl.col("row").is_in(found["row"].implode())).rename({"order_id": "target"})
    empty = [pl.lit("").alias(name) for name in NAMES if name not in ("target", "code")]
    return rows.select("row", pl.col("target", "code").fill_null(""), *empty)


def verdict(rows: pl.DataFrame, registry: Registry) -> Verdict:
    """What follows from a well-formed report (`order_id`, `code` as text, null where nothing was placed)."""
    ids = rows["order_id"]
    named = nights.named(registry, ids)
    shown = nights.held(registry, rows.drop_nulls("code").with_columns(pl.col("code").cast(pl.Int64)), named)
    state = pl.col("state")
    own = shown.filter(pl.col("order_no") == pl.col("owner"), pl.col("owner") > 0)
    arrived = own.filter(state.is_in([STATE["placed"], STATE["refused"]]))
    done = shown.filter(pl.col("done").is_in([0, 2]))
    becomes = pl.col("action").replace_strict(
        {name: STATE.get(action.card_becomes, -1) for name, action in actions.ACTIONS.items()}, default=-1
    )
    allowed = pl.any_horizontal(
        *((pl.col("action") == action.name) & state.is_in([STATE[name] for name in action.cards_in])
          for action in actions.ACTIONS.values())
    )  # fmt: skip
    changed = done.filter((becomes >= 0) & allowed).select("code", order_no="owner", was="state", state=becomes)
    moves = pl.concat(
        [arrived.select("code", "order_no", was="state", state=pl.lit(STATE["ready"], pl.Int64)), changed.cast(pl.Int64)]
    )
    strange = shown.filter((pl.col("owner") != pl.col("order_no")) | (pl.col("owner") <= 0), pl.col("done") < 0)
    nowhere = ids.filter(~ids.is_in(named["order_id"].implode())).unique().to_frame("order_id")
    nowhere = nowhere.join(strange, on="order_id", how="anti").select(
        "order_id", code=pl.lit(0, pl.Int64), held=pl.lit(_NO_ORDER)
    )
    unexpected = strange.filter(pl.col("owner") != 0).select("order_id", "code", held=_known())
    return Verdict(
        named, moves.sort("code", "state").unique("code", keep="last"), done,  # of two moves, to be disconnected is final
        pl.concat([unexpected, nowhere]).sort("order_id", "code"), strange.filter(pl.col("owner") < 0)["code"],
    )  # fmt: skip


_NO_ORDER = "no such order was placed"


def _known() -> pl.Expr:
    order = pl.when(pl.col("order_no") == 0).then(pl.lit(f"{_NO_ORDER}; ")).otherwise(pl.lit(""))
    code = pl.when(pl.col("owner") < 0).then(pl.lit("nobody issued this code, it is never issued from now on"))
    return order + code.otherwise(pl.lit("this code was issued under another order"))


def settle(night: int, settings: Settings, registry: Registry, world: World) -> int:
    """Refuse what named orders lack, and draw replacements; the event's number. One transaction."""
    event = {
        "kind": "night", "sender": inbox.NETWORK, "digest": "", "file": "nightly-reconciliation", "at": world.at(), "rows": 0,
        "notes": "", "readable": 0, "night": night,
    }  # fmt: skip
    with registry.transaction():
        refused = nights.left_out(registry)
        wanted = refused if settings.replace_refused else refused.clear()
        return nights.enter_night(registry, event, refused, replacements(wanted, registry, world))


def replacements(refused: pl.DataFrame, registry: Registry, world: World) -> pl.DataFrame:
    """New codes for refused Random and BTN+4 ones: `order_no`, `code`, `replaced`. Of a BTN that has too few PINs left,
    the earliest orders get them.
    """
    dialled = refused.filter(pl.col("code_type") == BTN4).with_columns(btn=pl.col("code") // placing.PINS)
    burnt = registry.taken_under(dialled["btn"])["code"]
    free = placing.capacity(dialled["btn"], burnt)
    dialled = dialled.sort("order_no", "code").join(free, on="btn", maintain_order="left")
    dialled = dialled.filter(pl.int_range(pl.len()).over("btn") < pl.col("free"))
    seat = pl.int_range(pl.len()).over("order_no", "btn")
    demands = dialled.group_by("order_no", "btn", maintain_order=True).agg(quantity=pl.len().cast(pl.Int64))
    demands = demands.with_row_index("line")
    pins = placing.draw_pins(demands.select("line", "btn", "quantity"), burnt, world.source)
    pins = pins.with_columns(seat=pl.int_range(pl.len()).over("line"))
    old = dialled.with_columns(seat=seat).join(demands.select("line", "order_no", "btn"), on=["order_no", "btn"])
    renewed = old.join(pins, on=["line", "seat"], suffix="_new").select("order_no", code="code_new", replaced="code")
    random = refused.filter(pl.col("code_type") == RANDOM)
    drawn = placing.draw(len(random), registry.taken, renewed["code"], world.source)
    return pl.concat([renewed, random.select("order_no", code=drawn, replaced="code")])
