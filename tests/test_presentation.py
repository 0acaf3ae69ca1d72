"""How times are shown in workbooks, and that the reports of many files are made together."""

from datetime import datetime

import polars as pl
import pytest

from pipelines.delivery.submission import build_reports
from pipelines.excel.presentation import local_time
from tests.conftest import Shop, csv_of, row


@pytest.mark.parametrize("offset", ["-06:00", "+05:30", "+00:00"])
def test_times_are_shown_as_the_clock_showed_them_at_an_offset(offset: str) -> None:
    times = ["2026-10-05T09:30:00-06:00", "2026-10-05T21:00:00+05:30", "2026-03-29T03:30:00+02:00"]
    shown = pl.DataFrame({"at": times, "offset": [offset] * 3}).select(
        one=local_time("at", offset), each=local_time("at", pl.col("offset"))
    )
    zone = datetime.fromisoformat(f"2026-01-01T00:00:00{offset}").tzinfo
    assert shown["one"].to_list() == [datetime.fromisoformat(at).astimezone(zone).replace(tzinfo=None) for at in times]
    assert shown["each"].to_list() == shown["one"].to_list()


def test_the_reports_of_many_files_are_made_at_once(shop: Shop) -> None:
    for name in ("a.csv", "b.csv"):
        shop.drop(name, csv_of(row(name[0].upper(), quantity="2")))
    shop.run()
    records = shop.registry.submission_records([1, 2])
    assert [one.orders["Customer Order ID"].to_list() for one in build_reports(records)] == [["A"], ["B"]]
