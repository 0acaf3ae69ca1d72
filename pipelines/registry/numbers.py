"""Numbers as the registry enters them: each once, ever, with the card that has it and the running figures of its BTN.

`numbers` is the one large table that new rows hit at random; it decides whether a number is free.
"""

from typing import Final

import polars as pl

from pipelines.registry.columns import columns_of, integer
from pipelines.registry.database import Database
from pipelines.registry.schema import CHECKSUM_MODULUS, INT, TEXT
from schemas.codes import CardState, is_code
from schemas.pins import PINS

_MANY: Final = 10_000
"""Of so many codes the BTNs are not looked up: those in use are read, as next to none of random codes belong to one."""
_EXTERNAL: Final = {"order_pk": 0, "serial": 0}


def enter_cards(registry: Database, cards: pl.DataFrame) -> None:
    """Enter new cards as placed: `order_pk`, `serial`, `code`, `event`. Inside a transaction.

    Raises the database's own error when a number is there already.
    """
    registry.append("cards", cards.with_columns(state=pl.lit(CardState.PLACED.value)))
    registry.append("numbers", cards)
    pins = _under_btns_in_use(registry, cards.select("event", btn=pl.col("code") // PINS))
    used = pins.group_by("btn").agg(used=pl.len().cast(INT), changed_event=pl.col("event").max())
    _add_used(registry, used)
    _add_to_day(registry, used)


def enter_external(registry: Database, codes: pl.Series, event: int) -> None:
    """Enter numbers (integers, each once, none of them known) that exist at the network and were not issued here."""
    registry.append("numbers", codes.to_frame("code").with_columns(**{name: pl.lit(no, INT) for name, no in _EXTERNAL.items()}))
    pins = _under_btns_in_use(registry, codes.to_frame("code").with_columns(btn=pl.col("code") // PINS))
    _add_used(registry, used_pins(pins).with_columns(changed_event=pl.lit(event, INT)))
    if len(codes):
        registry.execute(
            """
            INSERT INTO external_figures VALUES ($1, $2, $3)
            ON CONFLICT (event) DO UPDATE SET
                codes = external_figures.codes + excluded.codes, checksum = external_figures.checksum + excluded.checksum
            """,
            event,
            len(codes),
            int((codes % CHECKSUM_MODULUS).sum()),
        )


NUMBERS_UNDER: Final = "given JOIN numbers ON numbers.code BETWEEN given.low AND given.high"
"""The numbers under the BTNs of `given`, see `btn_ranges`."""


def btn_ranges(btns: pl.Series) -> pl.DataFrame:
    """BTNs (integers of ten digits), each once, with the `low`est and `high`est number under them: `btn`, `low`, `high`."""
    frame = btns.unique().sort().to_frame("btn")
    return frame.with_columns(low=pl.col("btn") * PINS, high=pl.col("btn") * PINS + PINS - 1)


def codes_under(registry: Database, btns: pl.Series) -> pl.DataFrame:
    """`btn` and every code used under it. `btns` are integers of ten digits."""
    columns = {"btn": integer("given.btn"), **columns_of("numbers", "code")}
    return registry.select_with(btn_ranges(btns), columns, f"FROM {NUMBERS_UNDER}")


def used_pins(codes: pl.DataFrame) -> pl.DataFrame:
    """How many valid PINs of each BTN are among these codes (`code`): `btn`, `used`."""
    valid = codes.filter(is_code(pl.col("code").cast(TEXT)))
    return valid.group_by(btn=pl.col("code") // PINS).agg(used=pl.len().cast(INT))


def _under_btns_in_use(registry: Database, rows: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows (`btn`) whose BTN may be one under which PINs were placed."""
    if len(rows) <= _MANY:
        return rows
    in_use = registry.select(columns_of("btns", "btn"), "FROM btns")["btn"]
    return rows.filter(pl.col("btn").is_in(in_use.implode()))


def _add_used(registry: Database, counts: pl.DataFrame) -> None:
    """Add to the figures of BTNs: `btn`, `used`, `changed_event`."""
    registry.execute_with(
        counts,
        "btn",
        """
        UPDATE btns SET used = btns.used + given.used, changed_event = given.changed_event
        FROM given WHERE btns.btn = given.btn
        """,
    )


def _add_to_day(registry: Database, counts: pl.DataFrame) -> None:
    """Add to what was issued under BTNs on the day of an event: `btn`, `used`, `changed_event`."""
    registry.execute_with(
        counts,
        "btn",
        """
        INSERT INTO btn_days
        SELECT btns.btn, substr(events.at, 1, 10), given.used
        FROM given JOIN btns ON btns.btn = given.btn JOIN events ON events.event = given.changed_event WHERE 1 = 1
        ON CONFLICT (btn, day) DO UPDATE SET codes = btn_days.codes + excluded.codes
        """,
    )
