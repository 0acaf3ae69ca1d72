"""`cards demo`: the whole life of a card in a scratch folder, run by the same code as production."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import polars as pl

from pipelines import console
from pipelines.admin import samples
from pipelines.admin.catalogue import load_catalogue
from pipelines.common.durable_files import ensure_private_dir
from pipelines.common.errors import UsageError
from pipelines.common.settings import load_settings
from pipelines.delivery.results import SubmissionResult
from pipelines.process_orders import process_inbox
from pipelines.reconcile_network import reconcile
from pipelines.run import open_run

_HEADER: Final = (
    "Action", "Customer Account Number", "Product Account Number", "Access Number", "International Origin",
    "International Termination", "Customer Order ID", "Comments", "Code Type", "Code", "Quantity", "BTN",
)  # fmt: skip
_ACME: Final = [
    ("Add", "10023456", "7001", "800-860-4444", "No", "No", "OCT-01", "chosen codes", "Specified", "73905162840517", "", ""),
    ("Add", "10023456", "7001", "800-860-4444", "No", "No", "OCT-01", "chosen codes", "Specified", "73905162840518", "", ""),
    ("Add", "10023456", "7002", "888-402-7755", "Yes", "Yes", "OCT-02", "", "Random", "", "25", ""),
    ("Add", "10023456", "7001", "800-866-3691", "No", "Yes", "OCT-03", "", "BTN+4", "", "10", "303-555-0142"),
    ("Add", "10023456", "7001", "800-860-4444", "No", "No", "OCT-04", "broken: a run", "Specified", "73905162845555", "", ""),
    ("Add", "10023456", "7001", "800-860-4444", "No", "No", "OCT-04", "broken: a run", "Specified", "73905162840520", "", ""),
    ("Add", "10023456", "7001", "800-860-4444", "No", "No", "OCT-05", "broken: rounded", "Specified", "7.39052E+13", "", ""),
    ("Add", "10023456", "7001", "800-860-4444", "No", "No", "OCT-06", "broken: no card", "BTN+4", "", "5", "800-555-5555"),
    ("Add", "20098765", "8001", "800-860-4444", "No", "No", "OCT-07", "broken: whose?", "Random", "", "5", ""),
    ("Add", "10023456", "7001", "888-123-4567", "Maybe", "No", "OCT-08", "broken: twice", "Random", "", "ten", ""),
]
_GLOBEX: Final = [
    ("", "20098765", "8001", "(800) 860-4444", "", "", "G100", "", "", "", "12", ""),
    ("", "20098765", "8001", "(800) 860-4444", "", "", "G101", "", "", "61750384920617;61750384920618", "", ""),
    ("", "20098765", "8001", "(800) 860-4444", "", "", "G101", "in part", "", "0617503849206", "", ""),
    ("", "20098765", "9999", "(800) 860-4444", "", "", "G102", "", "", "", "3", ""),
    ("", "20098765", "8001", "(800) 860-4444", "", "", "much too long an ID", "", "", "", "3", ""),
    ("", "20098765", "8001", "(800) 860-4444", "", "", "G103", "", "Random", "61750384920619", "3", ""),
    ("Sell", "20098765", "8001", "(800) 860-4444", "", "", "G104", "", "", "", "3", ""),
    ("", "20098765", "8001", "(800) 860-4444", "", "", "G105", "", "", "", "11000", "2125550142"),
]


def play(home: Path | None) -> None:
    """Play the demo in a folder that is new or empty, and show what happened and where the files are."""
    if home and home.exists() and any(home.iterdir()):
        raise UsageError(f"{home} is not empty. Name a new folder for the demo.")
    home = home or Path(tempfile.mkdtemp(prefix="cards-demo-"))
    settings = load_settings(home=home, registry="", settle_seconds=0)
    lay_out(home)
    with open_run(settings, create=True) as run:
        load_catalogue(home / "catalogue.xlsx", run.registry)
        with console.progress_runtime() as runtime:
            done = process_inbox(run._replace(runtime=runtime))
        console.print_table(
            "1. Order files were dropped into the inbox, and answered", [_row(result) for result in done.results]
        )
        answer_as_network(home)
        with console.progress_runtime() as runtime:
            night = reconcile(run._replace(runtime=runtime))
    print(
        "\n2. The network loaded outbox/network/*/placement-*.csv and reported: it refused every fifth code, and one order is "
        "missing in its report"
    )
    print("\n3. The nightly reconciliation compared both")
    console.print_key_values({"night": night.night, **asdict(night.figures)} if night.figures else {})
    released = sorted(path.relative_to(home) for path in (home / "outbox").rglob("release-*.xlsx"))
    console.print_table("\n4. Codes that are safe to print", [{"release file": path} for path in released])
    print(f"\nAll files are in {home}. Open the workbooks in its outbox: confirmation, rejections, release, reconciliation.")


def _row(result: SubmissionResult) -> dict[str, Any]:
    return {
        "reseller": result.reseller, "file": result.file, "orders placed": result.orders_placed,
        "orders rejected": result.orders_rejected, "codes": result.codes_placed, "rows rejected": result.rows_rejected,
        "why (rows)": console.format_reasons(result.reasons), "reports": result.folder,
    }  # fmt: skip


def answer_as_network(home: Path) -> None:
    """Write the order-ID report of a network that refuses every fifth code, and has not yet looked at one order."""
    files = sorted((home / "outbox/network").rglob("placement-*.csv"))
    placed = pl.concat(pl.read_csv(path, infer_schema=False) for path in files)
    report = placed.select("Order ID", "Authorization Code").with_row_index("line")
    seen = report.filter(pl.col("line") % 5 != 1, pl.col("Order ID") != placed["Order ID"].last())
    seen.drop("line").write_csv(home / "inbox/network/order-id-report.csv")


def lay_out(home: Path) -> None:
    """Put a catalogue, codes that already exist, and a workbook and a CSV file of orders into a home."""
    for folder in ("", "inbox", "inbox/acme", "inbox/globex", "inbox/network", "outbox"):
        ensure_private_dir(home / folder)
    samples.write_catalogue(home / "catalogue.xlsx")
    samples.write_workbook(home / "inbox/acme/october.xlsx", {"Orders": [_HEADER, *_ACME]}, "Orders")
    (home / "existing-codes.csv").write_text("Code\n29017365829401\n29017365829402\n", "utf-8")
    lines = [",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in (_HEADER, *_GLOBEX)]
    (home / "inbox/globex/cards.csv").write_text("\n".join(lines) + "\n", "utf-8")
