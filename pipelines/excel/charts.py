"""Charts of a summary, as XlsxWriter draws them: two titled axes, grid lines, and a legend below."""

from typing import Any, Final

from pipelines.excel import look
from pipelines.excel.book import Chart, Sheet, column_looks
from pipelines.excel.summary import Box

_TYPES: Final = {
    "stacked": {"type": "column", "subtype": "stacked"},
    "line": {"type": "line"},
    "bar": {"type": "bar"},
}
_LABELS: Final = 12
"""More labels than this would not fit along an axis."""
_TITLE, _SMALL = {"name": look.FONT, "size": 12, "bold": True, "color": look.BLUE}, {"name": look.FONT, "size": 9}


def draw(made: Any, page: Any, chart: Chart, sheet: Sheet, box: Box) -> None:
    """Draw a chart of a sheet's table on a page."""
    drawn = made.add_chart(_TYPES[chart.kind])
    for header, role in chart.series:
        drawn.add_series(_series(chart.kind, sheet, header, chart.categories, f"#{look.SERIES[role]}"))
    drawn.set_title({"name": chart.title, "name_font": _TITLE, "overlay": False})
    if len(chart.series) > 1:
        drawn.set_legend({"position": "bottom", "font": _SMALL})
    else:
        drawn.set_legend({"none": True})
    is_bar = chart.kind == "bar"
    (drawn.set_y_axis if is_bar else drawn.set_x_axis)(_categories(chart, sheet))
    (drawn.set_x_axis if is_bar else drawn.set_y_axis)(_figures(chart, sheet))
    drawn.set_size({"width": box.width, "height": box.height})
    drawn.show_blanks_as("gap")
    page.insert_chart(box.row, 0, drawn, {"x_offset": box.left, "description": chart.description, "object_position": 3})


def _series(kind: str, sheet: Sheet, header: str, categories: str, color: str) -> dict[str, Any]:
    last = sheet.rows.height
    place, axis = sheet.rows.columns.index(header), sheet.rows.columns.index(categories)
    series: dict[str, Any] = {
        "name": [sheet.title, 0, place],
        "categories": [sheet.title, 1, axis, last, axis],
        "values": [sheet.title, 1, place, last, place],
    }
    if kind == "line":
        marker = {"type": "circle", "size": 5, "fill": {"color": color}, "border": {"color": color}}
        return series | {"line": {"color": color, "width": 2.25}, "marker": marker}
    return series | {"fill": {"color": color}, "gap": 60}


def _categories(chart: Chart, sheet: Sheet) -> dict[str, Any]:
    """The axis of categories. The bars of a bar chart stand in the order of the table, from the top."""
    axis: dict[str, Any] = {"name": chart.x_axis, "name_font": _SMALL, "num_font": _SMALL, "line": {"color": f"#{look.QUIET}"}}
    axis |= {"interval_unit": 1 + sheet.rows.height // _LABELS}
    dated = sheet.rows.schema[chart.categories].is_temporal()
    axis |= {"text_axis": True, "num_format": look.DAY} if dated else {}
    return axis | ({"reverse": True, "crossing": "max"} if chart.kind == "bar" else {})


def _figures(chart: Chart, sheet: Sheet) -> dict[str, Any]:
    """The axis of figures, in the number format of the first series."""
    looks = dict(zip(sheet.rows.columns, column_looks(sheet), strict=True))
    number = looks[chart.series[0][0]][1].number
    grid = {"visible": True, "line": {"color": f"#{look.GREY}", "width": 0.75}}
    return {"name": chart.y_axis, "name_font": _SMALL, "num_font": _SMALL, "num_format": number, "min": 0,
            "major_gridlines": grid, "line": {"none": True}}  # fmt: skip
