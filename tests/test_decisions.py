"""What the operator decides: reports on hold, surplus cards."""

import os
from pathlib import Path

import pytest
from openpyxl import load_workbook
from typer.testing import CliRunner

from pipelines.admin import approvals, surplus
from pipelines.cli import app
from pipelines.common.errors import UsageError
from tests.conftest import NewRegistry, Shop, order_rows, row, some_codes

pytestmark = pytest.mark.one_database

(STRANGE,) = some_codes(1)


def on_hold(shop: Shop) -> str:
    """A report that names an order of 150 codes with a wrong code; its folder."""
    shop.send(row("A", quantity="150"))
    shop.report(("10023456-1", STRANGE))
    assert shop.night()["reports_on_hold"] == 1
    (report,) = approvals.reports_on_hold(shop.as_run)
    assert report.about == "It would refuse 150 of the 150 codes that its orders wait for."
    return report.folder


def test_an_approved_report_takes_effect_in_the_next_night(shop: Shop) -> None:
    folder = on_hold(shop)
    shop.later(days=1)
    done = approvals.approve(shop.as_run, f"outbox/network/{folder}", "Ana", "the network lost the order")
    assert (done.decision, done.by) == ("approved", "Ana")
    assert approvals.reports_on_hold(shop.as_run) == []
    result = shop.night()
    assert (result["codes_refused"], result["codes_replaced"], result["reports_on_hold"]) == (150, 150, 0)
    with pytest.raises(UsageError, match="was approved and used already, by Ana: the network lost the order"):
        approvals.approve(shop.as_run, folder, "Ben", "again")
    with pytest.raises(UsageError, match="was approved and used already"):
        approvals.reject(shop.as_run, folder, "Ben", "no")
    assert shop.waiting() == []


def test_an_approval_counts_once(shop: Shop) -> None:
    """The same bytes, about the replacements of the same codes, are put on hold again."""
    folder = on_hold(shop)
    shop.later(days=1)
    approvals.approve(shop.as_run, folder, "Ana", "yes")
    shop.night()
    shop.later(days=1)
    shop.report(("10023456-1", STRANGE), name="again.csv")
    assert shop.night()["reports_on_hold"] == 1


def test_an_approved_report_is_as_old_as_it_was(shop: Shop) -> None:
    """It judges nothing that was placed after it was written."""
    folder = on_hold(shop)
    shop.later(days=1)
    codes = [code for code, state in shop.states().items() if state == "placed"]
    shop.report(*(("10023456-1", code) for code in codes[:100]), name="good.csv")
    assert shop.night()["codes_replaced"] == 50
    shop.later(days=1)
    approvals.approve(shop.as_run, folder, "Ana", "yes")
    result = shop.night()
    assert (result["codes_refused"], result["orders_awaited"]) == (0, 1)


def test_a_rejected_report_never_takes_effect(shop: Shop) -> None:
    folder = on_hold(shop)
    assert approvals.reject(shop.as_run, folder, "Ana", "last month's").decision == "rejected"
    shop.later(days=1)
    assert (shop.night()["codes_refused"], shop.waiting()) == (0, [])
    with pytest.raises(UsageError, match="was rejected already, by Ana: last month's"):
        approvals.approve(shop.as_run, folder, "Ben", "yes")


def test_a_decision_names_who_and_why_and_a_report_on_hold(shop: Shop) -> None:
    folder = on_hold(shop)
    with pytest.raises(UsageError, match="Say who decides, and why"):
        approvals.approve(shop.as_run, folder, " ", "yes")
    with pytest.raises(UsageError, match="No report with the folder other is on hold"):
        approvals.reject(shop.as_run, "other", "Ana", "no")


def test_an_approval_that_dies_half_way_is_repeated(shop: Shop) -> None:
    folder = on_hold(shop)

    def die(step: str) -> None:
        if step == "decided":
            raise KeyboardInterrupt

    dying = shop.as_run._replace(runtime=shop.runtime._replace(checkpoint=die))
    with pytest.raises(KeyboardInterrupt):
        approvals.approve(dying, folder, "Ana", "yes")
    assert shop.waiting() == []
    approvals.approve(shop.as_run, folder, "Ana", "yes")
    approvals.approve(shop.as_run, folder, "Ana", "yes")
    assert len(shop.waiting()) == 1
    shop.later(days=1)
    assert shop.night()["codes_refused"] == 150


def with_surplus(shop: Shop) -> str:
    """An order of two cards of which the network has three; the code of the surplus one."""
    answer = shop.send(row("A", quantity="2"))
    pairs = answer.confirmation.select("Order ID", "Authorization Code").rows()
    shop.report(pairs[1])
    shop.night()
    (new,) = set(shop.placements()["Authorization Code"]) - set(answer.codes)
    shop.later(days=1)
    shop.report(*pairs, ("10023456-1", new), name="all.csv")
    shop.night()
    shop.later(days=1)
    (code,) = [code for code, state in shop.states().items() if state == "surplus"]
    return code


def test_surplus_cards_are_listed_without_their_codes(shop: Shop) -> None:
    with_surplus(shop)
    (order,) = surplus.surplus_orders(shop.as_run)
    assert (order.order_id, order.ordered, order.released, order.cards) == ("10023456-1", 2, 2, 1)
    assert order.serials == ["10023456-1/3"]
    assert surplus.surplus_orders(shop.as_run, "10023456-9") == []


def test_granted_surplus_cards_are_released_by_the_next_night(shop: Shop) -> None:
    code = with_surplus(shop)
    assert surplus.grant(shop.as_run, "10023456-1", "Ana", "the reseller pays for it") == 1
    result = shop.night()
    assert (result["codes_ready"], shop.states()[code]) == (1, "ready")
    folder = next((shop.settings.outbox / "acme").glob("*/"))
    released = order_rows(folder, "release", "10023456-1")["Authorization Code"].to_list()
    assert len(released) == len(set(released)) == 3
    assert released[-1] == code
    with pytest.raises(UsageError, match="has no surplus card"):
        surplus.grant(shop.as_run, "10023456-1", "Ana", "again")


def test_surplus_cards_are_disconnected_by_an_order_of_the_house(shop: Shop) -> None:
    code = with_surplus(shop)
    dropped = surplus.disconnect(shop.as_run)
    assert dropped
    assert (dropped[0].parent, dropped[1]) == (shop.settings.inbox, 1)
    assert dropped[0].stat().st_mode & 0o777 == 0o600
    (answer,) = shop.run()
    assert (answer.result["orders_placed"], answer.result["reasons"]) == (1, {})
    assert surplus.disconnect(shop.as_run) is None
    assert surplus.surplus_orders(shop.as_run)[0].disconnecting == 1
    with pytest.raises(UsageError, match="has no surplus card that could be granted"):
        surplus.grant(shop.as_run, "10023456-1", "Ana", "yes")
    shop.report(("10023456-2", code), name="gone.csv")
    shop.night()
    assert shop.states()[code] == "disconnected"
    assert surplus.surplus_orders(shop.as_run) == []
    assert order_rows(answer.folder, "outcome", "10023456-2")["Outcome"].to_list() == ["done"]


def test_the_commands_show_reports_on_hold_and_end_with_3(
    tmp_path: Path, sqlite: NewRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        shop.send(row("A", quantity="150"))
        os.utime(shop.report(("10023456-1", STRANGE)), (0, 0))
        for name, value in {"HOME": shop.settings.home, "REGISTRY": url, "SETTLE_SECONDS": 0}.items():
            monkeypatch.setenv(f"CARDS_{name}", str(value))
        run = CliRunner()
        night = run.invoke(app, ["reconcile", "--json"])
        assert night.exit_code == 3
        assert '"on_hold": "It would refuse 150' in night.output
        holds = run.invoke(app, ["holds"])
        assert "It would refuse 150 of the 150 codes" in " ".join(holds.output.split())
        (report,) = approvals.reports_on_hold(shop.as_run)
        done = run.invoke(app, ["reject", report.folder, "--by", "Ana", "--why", "wrong"])
        assert (done.exit_code, "is rejected" in done.output) == (0, True)
        assert run.invoke(app, ["reconcile"]).exit_code == 0
        assert run.invoke(app, ["surplus", "--json"]).output == '{\n  "orders": []\n}\n'
        shop.registry.close()


def test_an_unusable_report_ends_with_3_and_words_for_the_network(
    tmp_path: Path, sqlite: NewRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite() as url:
        shop = Shop(tmp_path / "home", url)
        shop.report(content="Order ID\n10023456-1\n")
        for name, value in {"HOME": shop.settings.home, "REGISTRY": url, "SETTLE_SECONDS": 0}.items():
            monkeypatch.setenv(f"CARDS_{name}", str(value))
        night = CliRunner().invoke(app, ["reconcile", "--json"])
        assert (night.exit_code, '"COLUMN_MISSING": 1' in night.output) == (3, True)
        assert CliRunner().invoke(app, ["reconcile"]).exit_code == 3  # of this date, as its figures
        (folder,) = (shop.settings.outbox / "network").glob("*-report")
        result = (folder / "rejections.csv").read_text()
        assert "A report has the columns Order ID and Authorization Code" in result
        summary = str(list(load_workbook(folder / "rejections.xlsx")["Summary"].values))
        assert "This order-ID report has changed nothing" in summary
        for words in ("cards template", "resubmit", "placed. Correct"):
            assert words not in result + summary
        shop.registry.close()
