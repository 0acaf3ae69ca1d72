"""Notices: each thing that people should know is sent once, through real receivers, whatever fails or is killed meanwhile."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastexcel
import polars as pl
import pytest

from pipelines.admin import approvals, queries
from pipelines.admin.samples import write_workbook
from pipelines.common.errors import UsageError
from pipelines.common.settings import load_settings
from pipelines.notify import outage
from pipelines.notify.channels import LOCAL, AppriseProcess, Channel, Outcome, mask_address, mask_addresses, to_url
from pipelines.notify.notifying import at_end, notify
from pipelines.process_orders import process_inbox
from pipelines.registry import notices
from pipelines.registry.columns import columns_of
from pipelines.serving.notifier import Notifier
from schemas import catalogue
from tests.conftest import ACCESS_NUMBERS, ACCOUNTS, BILLING_NUMBERS, NOW, Shop, csv_of, row, sampled
from tests.faults.killing import environment
from tests.faults.worker import Worker
from tests.receivers import MailServer, Received, Webhook

pytestmark = pytest.mark.one_database

DESK = "desk@example.com"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def notified(tmp_path: Path, registry_url: str, webhook: Webhook, mail: MailServer) -> Iterator[Shop]:
    """A shop whose operator is notified by mail, and acme by a webhook; what happened before is over."""
    shop = Shop(tmp_path / "home", registry_url, notify=DESK, notify_mail=mail.url)
    load(shop, acme=webhook.url("acme"))
    assert notify(shop.as_run) == []
    yield shop
    shop.registry.close()


def load(shop: Shop, **channels: str) -> None:
    """Give resellers channels."""
    notify = pl.col("reseller").replace_strict(channels, default="")
    shop.registry.load_catalogue(ACCOUNTS.with_columns(notify=notify), ACCESS_NUMBERS, BILLING_NUMBERS)


def test_a_file_with_rejections_is_sent_to_the_operator_and_its_reseller_once(
    notified: Shop, webhook: Webhook, mail: MailServer
) -> None:
    answer = notified.send(row("A", quantity="2"), row("B", code="12"))
    for _ in range(3):
        assert notify(notified.as_run) == []
    (to_desk,), (to_acme,) = mail.messages, webhook.messages
    words = (
        f"orders.csv was answered: 1 order placed, 1 of 2 rows rejected (CODE_FORMAT 1). See outbox/acme/{answer.folder.name}"
    )
    assert to_acme == Received("cards: file with rejections", f"- file with rejections: {words}", "/acme")
    assert to_desk.title == "cards: file with rejections"
    assert to_desk.body.strip() == f"- file with rejections: acme: {words}"
    assert to_desk.to == DESK


def notified_again(shop: Shop) -> None:
    """Nothing is sent twice, and nothing goes wrong."""
    for _ in range(2):
        assert notify(shop.as_run) == []


def only(messages: list[Received]) -> Received:
    """The one message that came."""
    (message,) = messages
    return message


def lines(message: Received) -> list[str]:
    """The notices of a message."""
    return [line.removeprefix("- ") for line in message.body.strip().splitlines()]


def line(messages: list[Received], kind: str) -> str:
    """The one notice of a kind in the one message that came."""
    (words,) = [words for words in lines(only(messages)) if words.startswith(f"{kind}: ")]
    return words.removeprefix(f"{kind}: ")


def kinds(messages: list[Received]) -> list[str]:
    return sorted(words.partition(":")[0] for message in messages for words in lines(message))


def test_a_file_that_was_rejected_as_a_whole_is_reported(notified: Shop, webhook: Webhook, mail: MailServer) -> None:
    notified.drop("noise.bin", bytes(range(256)))
    (answer,) = notified.run()
    notified_again(notified)
    words = f"noise.bin was rejected as a whole (FILE_TYPE 1). See outbox/acme/{answer.folder.name}"
    assert line(webhook.messages, "file with rejections") == words
    assert line(mail.messages, "file with rejections") == f"acme: {words}"


def test_a_file_that_is_right_is_sent_to_its_reseller_alone(notified: Shop, webhook: Webhook, mail: MailServer) -> None:
    answer = notified.send(row("A", quantity="2"))
    notified.send(globex_row("G"), source="globex", name="theirs.csv")
    notified_again(notified)
    words = f"orders.csv was answered: 1 order placed. See outbox/acme/{answer.folder.name}"
    assert only(webhook.messages).body == f"- file answered: {words}"
    assert mail.messages == []


@pytest.mark.parametrize(("code", "starts"), [("12", True), ("73905162840998", False)])
def test_the_process_that_sends_starts_with_the_first_rejection_while_the_job_goes_on(
    code: str, starts: bool, notified: Shop, webhook: Webhook
) -> None:
    def is_up() -> bool:
        children = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
        return any(b"pipelines.notify.apprise_worker" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children)

    notified.drop("orders.csv", csv_of(row("A", code=code)))
    with at_end(notified.as_run) as (run, _):
        assert not is_up()
        process_inbox(run)
        assert is_up() == starts
    assert not is_up()
    assert len(webhook.messages) == 1


def test_a_file_that_came_before_is_reported_as_such(notified: Shop, webhook: Webhook) -> None:
    notified.send(row("A", quantity="1"), row("B", quantity="1"))
    notified.send(row("A", quantity="1"), row("B", quantity="1"), name="again.csv")
    notified.send(row("A", quantity="1"), row("C", quantity="1"), name="more.csv")
    notified_again(notified)
    words = [one.partition(" was ")[2].partition(".")[0] for one in lines(only(webhook.messages))]
    assert words == [f"answered: {one}" for one in (
        "2 orders placed", "0 orders placed, 2 already placed", "1 order placed, 1 already placed",
    )]  # fmt: skip


def test_an_answer_that_is_written_again_is_not_reported_as_late(notified: Shop, mail: MailServer) -> None:
    answer = notified.send(row("A", quantity="1"))
    notified_again(notified)
    notified.later(hours=1)
    notified.registry.mark_undelivered(queries.submission(answer.folder.name, notified.registry).event)
    notified_again(notified)
    assert mail.messages == []


def test_a_reseller_hears_of_its_own_files_alone(notified: Shop, webhook: Webhook, mail: MailServer) -> None:
    load(notified, acme=webhook.url("acme"), globex=webhook.url("globex"))
    notified.send(row("A", code="12"), name="ours.csv")
    notified.send(globex_row("G", code="12"), name="theirs.csv", source="globex")
    notified_again(notified)
    heard = {one.to: one.body for one in webhook.messages}
    assert {to: [name in body for name in ("ours.csv", "theirs.csv")] for to, body in heard.items()} == {
        "/acme": [True, False], "/globex": [False, True],
    }  # fmt: skip
    assert len(lines(only(mail.messages))) == 2


def test_the_most_frequent_reasons_are_reported(notified: Shop, webhook: Webhook) -> None:
    broken = [{"code": "12"}, {"quantity": "x"}, {"access_number": "1", "quantity": "1"}, {"product": "?", "quantity": "1"}]
    notified.send(*(row(f"A{number}", **cells) for number, cells in enumerate([*broken, *broken[:2], broken[0]])))
    assert notify(notified.as_run) == []
    assert "(CODE_FORMAT 3, QUANTITY_FORMAT 2, ACCESS_FORMAT 1 …)" in only(webhook.messages).body


def test_a_file_of_the_house_is_sent_to_the_operator_alone(notified: Shop, webhook: Webhook, mail: MailServer) -> None:
    notified.send(row("A", quantity="2"), row("B", code="12"), source="house")
    notified_again(notified)
    assert line(mail.messages, "file with rejections").startswith("house: orders.csv was answered: 1 order placed, 1 of 2 rows")
    assert webhook.messages == []


def globex_row(customer_order_id: str, **cells: str) -> dict[str, str]:
    return row(customer_order_id, account="20098765", product="8001", **({"quantity": "1"} | cells))


def test_releases_and_outcomes_are_sent_to_the_operator_and_each_reseller(
    notified: Shop, webhook: Webhook, mail: MailServer
) -> None:
    load(notified, acme=webhook.url("acme"), globex=webhook.url("globex"))
    mine = notified.send(row("A", quantity="3"), row("B", quantity="1"))
    theirs = notified.send(globex_row("G"), source="globex", name="theirs.csv")
    notify(notified.as_run)
    webhook.messages.clear()
    pairs = [one.confirmation.select("Order ID", "Authorization Code").rows() for one in (mine, theirs)]
    notified.report(*pairs[0], *pairs[1])
    notified.night()
    notified_again(notified)
    acme, globex = sorted(webhook.messages, key=lambda one: one.to)
    assert acme == Received(
        "cards: release ready",
        "- release ready: 2 orders (the first: 10023456-1): 4 cards are safe to print. "
        "outbox/acme/index.csv lists the release files",
        "/acme",
    )
    assert globex.body.startswith("- release ready: 1 order (20098765-1): 1 card is safe to print. outbox/globex/")
    assert line(mail.messages, "release ready") == "3 orders (the first: 10023456-1) of 2 resellers: 5 cards are safe to print"
    mail.messages.clear()
    webhook.messages.clear()
    notified.later(days=1)
    block = row("C", action="Block", target_order_id="10023456-2", product="", access_number="")
    notified.send(block, name="block.csv")
    notified.report(("10023456-3", pairs[0][3][1]), name="second.csv")
    notified.night()
    notified_again(notified)
    assert kinds(webhook.messages) == ["file answered", "outcome ready"]
    assert line(webhook.messages, "outcome ready").startswith("1 order (10023456-3): 1 card was dealt with. outbox/acme/")
    assert line(mail.messages, "outcome ready") == "1 order (10023456-3) of 1 reseller: 1 card was dealt with"


def test_reports_that_are_rejected_or_on_hold_are_reported(tmp_path: Path, registry_url: str, mail: MailServer) -> None:
    shop = Shop(tmp_path / "home", registry_url, notify=DESK, notify_mail=mail.url, report_max_external=0)
    notify(shop.as_run)
    shop.report(content="Order ID\n1\n", name="bad.csv")
    shop.report(("77-7", "73905162840517"), name="strange.csv")
    shop.night()
    notified_again(shop)
    assert kinds(mail.messages) == ["report on hold", "report rejected"]
    assert line(mail.messages, "report rejected").startswith(
        "network report bad.csv can't be used (COLUMN_MISSING 1). See outbox/"
    )
    assert "strange.csv waits" in line(mail.messages, "report on hold")
    assert "cards approve 20261005-093000-strange" in line(mail.messages, "report on hold")
    shop.registry.close()


def test_a_night_without_reports_and_with_overdue_orders_is_reported(notified: Shop, mail: MailServer) -> None:
    notified.night()
    assert notify(notified.as_run) == []
    assert mail.messages == [], "nothing is awaited"
    notified.send(row("A", quantity="1"))
    notified.later(days=1)
    notified.report(("99-9", ""))
    notified.night()
    notified_again(notified)
    assert mail.messages == [], "a report came"
    notified.later(hours=25)
    notified.night()
    notified_again(notified)
    assert kinds(mail.messages) == ["no report", "orders overdue"]
    assert line(mail.messages, "no report") == (
        "no network report came in the 24 hours before the night (the last came at 2026-10-06T09:30:00-06:00), "
        "and 1 order awaits it"
    )
    assert line(mail.messages, "orders overdue").startswith("1 order is overdue at the network, of 1 that await it")


def test_a_night_that_does_not_run_is_reported_once_a_day(notified: Shop, mail: MailServer) -> None:
    notified.later(days=3)
    notified_again(notified)
    assert mail.messages == [], "there are no orders"
    notified.send(row("A", quantity="1"))
    notified.later(hours=25)
    notified_again(notified)
    assert mail.messages == [], "the order is not as old"
    notified.later(hours=2)
    notified_again(notified)
    assert line(mail.messages, "night did not run") == (
        "no night has run for 26 hours (none has ever run), and orders wait for it"
    )
    notified.later(days=1)
    notified_again(notified)
    assert len(mail.messages) == 2
    notified.night()
    notified.later(hours=20)
    mail.messages.clear()
    notified_again(notified)
    assert "night did not run" not in kinds(mail.messages)


def test_a_reseller_on_hold_and_over_its_quota_is_reported(
    tmp_path: Path, registry_url: str, mail: MailServer, webhook: Webhook
) -> None:
    limits: dict[str, Any] = {"max_taken_code_attempts": 2, "max_daily_codes": 5, "max_daily_files": 4}
    shop = Shop(tmp_path / "home", registry_url, notify=DESK, notify_mail=mail.url, **limits)
    load(shop, acme=webhook.url("acme"))
    notify(shop.as_run)
    taken = "73905162840999"
    shop.send(*(row(f"T{number}", code=taken) for number in range(4)), name="guess.csv")
    shop.send(row("A", quantity="9"), name="many.csv")
    assert notify(shop.as_run) == []
    assert line(mail.messages, "reseller on hold").startswith("acme is on hold since 2026-10-05T09:30:00-06:00: too many taken")
    assert line(webhook.messages, "reseller on hold").startswith("your files that name codes are on hold since 2026-10-05")
    assert "acme: the quota of 2026-10-05 is used up: codes" in line(mail.messages, "over quota")
    assert line(webhook.messages, "over quota").startswith("the quota of 2026-10-05 is used up: codes; further orders")
    mail.messages.clear()
    shop.send(row("B", quantity="1"), name="3.csv")
    shop.send(row("C", quantity="1"), name="4.csv")
    notified_again(shop)
    assert line(mail.messages, "over quota") == "acme: the quota of 2026-10-05 is used up: files; further files wait"
    shop.registry.clear_hold("acme", shop.runtime.timestamp())
    shop.later(days=1)
    mail.messages.clear()
    shop.send(*(row(f"U{number}", code=taken) for number in range(4)), name="again.csv")
    notified_again(shop)
    assert "acme is on hold since 2026-10-06" in line(mail.messages, "reseller on hold")
    shop.registry.close()


def test_a_btn_that_is_nearly_full_is_reported_once(notified: Shop, mail: MailServer, webhook: Webhook) -> None:
    notified.send(row("A", btn="3035550142", quantity="8958"))
    notified_again(notified)
    assert mail.messages == [], "1,000 are left"
    for order in ("B", "C"):
        notified.send(row(order, btn="3035550142", quantity="1"), name=f"{order}.csv")
        notified_again(notified)
    assert line(mail.messages, "BTN nearly full") == "BTN 3035550142 has 999 PINs left"
    assert kinds(webhook.messages).count("BTN nearly full") == 1
    notified.send(globex_row("G", btn="3035550199", quantity="9000"), source="globex", name="theirs.csv")
    notified_again(notified)
    assert kinds(mail.messages).count("BTN nearly full") == 2
    assert kinds(webhook.messages).count("BTN nearly full") == 1, "it is globex's own"


def test_an_order_on_hold_is_reported_once_with_how_to_approve_it(
    tmp_path: Path, registry_url: str, mail: MailServer, webhook: Webhook
) -> None:
    shop = Shop(tmp_path / "home", registry_url, notify=DESK, notify_mail=mail.url, approve_above=100)
    load(shop, acme=webhook.url("acme"))
    notify(shop.as_run)
    for name in ("first.csv", "again.csv"):
        shop.send(row("BIG", quantity="500"), row("ROWS", btn="3035550142", quantity="90"),
                  row("ROWS", btn="3035550555", quantity="90"), row("A", quantity="1"), name=name)  # fmt: skip
        notified_again(shop)
    assert kinds(mail.messages) == ["order on hold"] * 2, "nothing is rejected"
    assert lines(only(mail.messages)) == [
        f"order on hold: acme: order {order} of account 10023456 asks for {codes} codes and waits. "
        f"Decide with cards approve H{hold} or cards reject H{hold}"
        for hold, (order, codes) in enumerate({"BIG": 500, "ROWS": 180}.items(), 1)
    ]
    first, again = [lines(message) for message in webhook.messages]
    assert first[:2] == [
        f"order on hold: order {order} of account 10023456 asks for {codes} codes and waits for the operator's approval"
        for order, codes in {"BIG": 500, "ROWS": 180}.items()
    ]
    assert first[2].startswith("file answered: first.csv was answered: 1 order placed, 3 rows wait for approval. See outbox/")
    assert again[0].startswith("file answered: again.csv was answered: 0 orders placed, 1 already placed, 3 rows wait for app")
    assert (len(first), len(again)) == (3, 1)
    webhook.messages.clear()
    mail.messages.clear()
    approvals.approve(shop.as_run, "H1", "Ana", "They have paid")
    approvals.reject(shop.as_run, "H2", "Ana", "They have not")
    shop.run()
    notified_again(shop)
    print(mail.messages, webhook.messages)
    assert kinds(mail.messages) == ["file with rejections"]
    assert "ORDER_NOT_APPROVED 2" in line(mail.messages, "file with rejections")
    shop.registry.close()


def test_an_answer_that_is_not_delivered_is_reported_and_keeps_no_other_waiting(
    notified: Shop, mail: MailServer, webhook: Webhook
) -> None:
    blocked = notified.settings.outbox / "acme"
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way")
    notified.drop("stuck.csv", csv_of(row("A", quantity="1")))
    notified.run()
    notified_again(notified)
    notified.later(minutes=9)
    notified.send(globex_row("G", code="12"), source="globex", name="theirs.csv")
    notified_again(notified)
    assert (mail.messages, webhook.messages) == ([], []), "it may be on its way"
    notified.later(minutes=2)
    notified_again(notified)
    assert kinds(mail.messages) == ["answer not delivered", "file with rejections"]
    assert line(mail.messages, "answer not delivered").startswith(
        "the answer to stuck.csv of acme (committed at 2026-10-05T09:30"
    )
    assert webhook.messages == [], "the reseller has no answer yet"
    blocked.unlink()
    notified.run()
    notified_again(notified)
    assert line(webhook.messages, "file answered").startswith("stuck.csv was answered: 1 order placed")
    assert len(mail.messages) == 1


def test_a_disk_that_is_nearly_full_is_reported_once_a_day(
    notified: Shop, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.notify.happened._FREE_BYTES", 1 << 60)
    notified_again(notified)
    notified.later(hours=1)
    notified_again(notified)
    assert line(mail.messages, "disk nearly full").startswith("the disk of the home has ")
    notified.later(days=1)
    notified_again(notified)
    assert kinds(mail.messages) == ["disk nearly full"] * 2


# -- what the registry does not know -------------------------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path / "worker") as one:
        yield one


def desk(shop: Shop, **more: str) -> dict[str, str]:
    """The environment of commands in a shop whose operator is notified by mail."""
    return environment(shop) | {"CARDS_NOTIFY": shop.settings.notify, "CARDS_NOTIFY_MAIL": shop.settings.notify_mail} | more


def test_what_verify_finds_is_reported_once_a_day(notified: Shop, mail: MailServer, worker: Worker) -> None:
    answer = notified.send(row("A", quantity="2"))
    (answer.folder / "confirmation.csv").unlink()
    for _ in range(2):
        assert worker.run("verify", environment=desk(notified)).code == 1
    words = line(mail.messages, "verify finding")
    assert words.startswith("cards verify found 1 problem: ")
    assert answer.folder.name in words
    (answer.folder / "orders.csv").unlink()
    assert worker.run("verify", environment=desk(notified)).code == 1
    assert len(mail.messages) == 2, "it finds more"


def test_a_night_that_fails_is_reported(notified: Shop, mail: MailServer, worker: Worker) -> None:
    notified.send(row("A", quantity="1"))
    folder = notified.settings.outbox / "reconciliation"
    folder.write_text("in the way")
    for _ in range(2):
        assert worker.run("reconcile", environment=desk(notified)).code == 1
    words = [words for words in lines(mail.messages[0]) if words.startswith("night failed")]
    assert kinds(mail.messages).count("night failed") == 1
    assert "outbox/reconciliation" in words[0]
    folder.unlink()
    assert worker.run("reconcile", environment=desk(notified)).code == 0
    assert kinds(mail.messages).count("night failed") == 1


def test_a_registry_that_is_out_of_reach_is_reported_once_and_when_it_is_back(
    notified: Shop, mail: MailServer, worker: Worker
) -> None:
    away = desk(notified, CARDS_REGISTRY="postgresql://nobody:hush@127.0.0.1:1/cards")
    noted = notified.settings.home / ".registry-outage"
    assert worker.run("run", environment=away).code == 1
    assert mail.messages == [], "it is out of reach for a moment"
    noted_since = json.loads(noted.read_text()) | {"since": "2026-10-05T09:30:00-06:00"}
    noted.write_text(json.dumps(noted_since))
    for command in ("run", "reconcile", "run"):
        assert worker.run(command, environment=away).code == 1
    words = line(mail.messages, "registry out of reach")
    assert words.startswith("since 2026-10-05T09:30:00-06:00: The registry ")
    assert "hush" not in words
    mail.messages.clear()
    for _ in range(2):
        assert worker.run("run", environment=desk(notified)).code == 0
    assert line(mail.messages, "registry back").startswith("it was out of reach from 2026-10-05T09:30:00-06:00 to 20")
    assert not noted.exists()


def test_an_outage_of_a_moment_is_not_reported(notified: Shop, mail: MailServer, worker: Worker) -> None:
    away = desk(notified, CARDS_REGISTRY="postgresql://nobody@127.0.0.1:1/cards")
    assert worker.run("run", environment=away).code == 1
    assert worker.run("run", environment=desk(notified)).code == 0
    assert mail.messages == []
    assert not (notified.settings.home / ".registry-outage").exists()


def test_an_outage_is_sent_to_each_channel_until_it_has_accepted(tmp_path: Path, webhook: Webhook, mail: MailServer) -> None:
    settings = load_settings(_env_file=None, home=tmp_path, notify=f"{DESK} {webhook.url()}", notify_mail=mail.url)
    webhook.status = 503
    for minutes in (0, 6, 7):
        outage.note_unreachable(settings, NOW + timedelta(minutes=minutes), "The registry is away.")
    assert (len(mail.messages), webhook.requests) == (1, 2)
    webhook.status = 200
    outage.note_unreachable(settings, NOW + timedelta(minutes=8), "The registry is away.")
    webhook.status = 503
    for minutes in (9, 10):
        outage.note_reachable(settings, NOW + timedelta(minutes=minutes))
    assert (kinds(mail.messages), kinds(webhook.messages)) == (
        ["registry back", "registry out of reach"],
        ["registry out of reach"],
    )
    webhook.status = 200
    for minutes in (11, 12):
        outage.note_reachable(settings, NOW + timedelta(minutes=minutes))
    assert kinds(webhook.messages) == ["registry back", "registry out of reach"]
    assert list(tmp_path.iterdir()) == []


# -- once, and never not at all ------------------------------------------------------------------------------------------


def again_at_once(shop: Shop) -> None:
    """As if the time had passed after which a channel is tried again."""
    shop.registry.execute("UPDATE notice_deliveries SET leased_until = 0")


def waits(shop: Shop) -> list[tuple[int, int]]:
    """Of each channel: how many notices wait, and how often they were tried."""
    return notices.waiting(shop.registry).select("notices", "tries").rows()


def test_a_receiver_that_is_down_loses_nothing(notified: Shop, mail: MailServer, webhook: Webhook) -> None:
    webhook.status = 503
    first = notified.send(row("A", code="12"))
    (warning,) = notify(notified.as_run)
    assert warning.startswith("json://127.0.0.1/… (")
    assert warning.endswith(") of acme did not accept 1 notice: it answered 503. They are sent later")
    assert len(mail.messages) == 1, "the other channel is not kept waiting"
    second = notified.send(row("B", code="13"), name="second.csv")
    assert notify(notified.as_run) == [], "it is not tried again at once, whatever else happens"
    assert webhook.requests == 1
    for tries in range(2, 7):
        again_at_once(notified)
        assert len(notify(notified.as_run)) == 1
        assert waits(notified)[-1] == (2, tries)
    notified.later(days=30)
    webhook.status = 200
    again_at_once(notified)
    notified_again(notified)
    assert [first.folder.name in words or second.folder.name in words for words in lines(webhook.messages[0])[:2]] == [True] * 2
    assert waits(notified) == []


def test_a_channel_is_tried_again_the_later_the_more_often_it_was_tried(notified: Shop, webhook: Webhook) -> None:
    webhook.status = 503
    notified.send(row("A", code="12"))
    seconds = []
    for _ in range(6):
        again_at_once(notified)
        notify(notified.as_run)
        seconds.append(notices.waiting(notified.registry)["wait"].item())
    assert all(most - 10 < wait <= most for wait, most in zip(seconds, (60, 300, 900, 3600, 3600, 3600), strict=True))


def test_a_receiver_that_is_not_there_loses_nothing(notified: Shop) -> None:
    with Webhook() as gone:
        address = gone.url("gone")
    load(notified, acme=address)
    notified.send(row("A", code="12"))
    (warning,) = notify(notified.as_run)
    assert "it can't be reached, or refuses" in warning
    assert waits(notified) == [(1, 1)]


def test_a_receiver_that_never_answers_is_given_up_after_a_while(
    notified: Shop, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.notify.channels.SECONDS", 1)
    webhook.seconds = 5
    notified.send(row("A", code="12"))
    begin = time.monotonic()
    (warning,) = notify(notified.as_run)
    assert time.monotonic() - begin < 4
    assert "it took more than 1 s" in warning
    assert waits(notified) == [(1, 1)]


def test_a_receiver_that_sends_elsewhere_has_not_accepted(notified: Shop, webhook: Webhook) -> None:
    webhook.status = 302
    notified.send(row("A", code="12"))
    assert len(notify(notified.as_run)) == 1
    assert webhook.requests == 1
    assert waits(notified) == [(1, 1)]


def test_a_thousand_things_are_one_message(notified: Shop, mail: MailServer, webhook: Webhook) -> None:
    for number in range(60):
        notified.drop(f"{number}.csv", csv_of(row(f"A{number}", code="12")))
    notified.drop("right.csv", csv_of(row("R", quantity="1")))
    notified.run()
    notified_again(notified)
    message = only(webhook.messages)
    assert message.title == "cards: 60 files with rejections, file answered"
    assert len(lines(message)) == 21
    assert lines(message)[-1] == "and 41 more"
    assert only(mail.messages).title == "cards: 60 files with rejections"


@pytest.mark.slow
def test_two_processes_at_once_send_once(notified: Shop, webhook: Webhook, mail: MailServer, tmp_path: Path) -> None:
    webhook.seconds = 0.3
    with Worker(tmp_path / "one") as one, Worker(tmp_path / "two") as two:
        for number in range(4):
            notified.drop(f"{number}.csv", csv_of(row(f"A{number}", code="12")))
            for each in (one, two):
                each.start("run", environment=desk(notified))
            assert [each.end().code for each in (one, two)] == [0, 0]
    for messages in (webhook.messages, mail.messages):
        assert [sum(f"{number}.csv was answered" in one.body for one in messages) for number in range(4)] == [1] * 4


def test_what_happened_before_there_was_a_channel_is_not_reported(tmp_path: Path, registry_url: str, mail: MailServer) -> None:
    shop = Shop(tmp_path / "home", registry_url)
    shop.send(row("A", code="12"))
    assert notify(shop.as_run) == []
    shop.settings = shop.settings.model_copy(update={"notify": DESK, "notify_mail": mail.url})
    assert notify(shop.as_run) == []
    shop.send(row("B", code="12"), name="second.csv")
    notified_again(shop)
    assert "second.csv" in line(mail.messages, "file with rejections")
    shop.registry.close()


def test_the_run_that_first_has_a_channel_tells_what_it_does(
    tmp_path: Path, registry_url: str, mail: MailServer, worker: Worker
) -> None:
    shop = Shop(tmp_path / "home", registry_url, notify=DESK, notify_mail=mail.url)
    shop.drop("first.csv", csv_of(row("A", code="12")))
    assert worker.run("run", environment=desk(shop)).err == ""
    assert "first.csv" in line(mail.messages, "file with rejections")
    shop.registry.close()


def test_what_is_older_than_three_days_is_not_reported(notified: Shop, mail: MailServer) -> None:
    notified.send(row("A", code="12"))
    notified.later(days=4)
    notified.send(row("B", code="12"), name="second.csv")
    notified_again(notified)
    assert "second.csv" in line(mail.messages, "file with rejections")


def test_a_channel_that_is_configured_no_more_gets_nothing_after_a_week(notified: Shop, webhook: Webhook) -> None:
    webhook.status = 503
    notified.send(row("A", code="12"))
    notify(notified.as_run)
    load(notified)
    notified.later(days=6)
    notify(notified.as_run)
    assert waits(notified) == [(1, 1)]
    notified.later(days=2)
    notify(notified.as_run)
    assert waits(notified) == []


def test_what_was_sent_is_forgotten_after_a_year(notified: Shop, webhook: Webhook) -> None:
    notified.send(row("A", code="12"))
    notify(notified.as_run)
    webhook.status = 503
    notified.send(row("B", code="12"), name="second.csv")
    notify(notified.as_run)
    notified.later(days=399)
    notify(notified.as_run)
    assert known(notified) == [1, 2, 3, 4]
    notified.later(days=2)
    notify(notified.as_run)
    assert known(notified) == [4], "one still waits"
    webhook.status = 200
    again_at_once(notified)
    notify(notified.as_run)
    notify(notified.as_run)
    assert known(notified) == []
    assert ["second.csv" in one.body for one in webhook.messages] == [False, True]


def known(shop: Shop) -> list[int]:
    """The notices that the registry has."""
    return sorted(shop.registry.select(columns_of("notices", "notice"), "FROM notices")["notice"])


def test_a_clock_that_is_set_back_keeps_no_notice_from_its_channel(notified: Shop, webhook: Webhook) -> None:
    webhook.status = 503
    notified.send(row("A", code="12"))
    notify(notified.as_run)
    notified.registry.execute("UPDATE notice_deliveries SET leased_until = leased_until + 86400")
    webhook.status = 200
    notify(notified.as_run)
    assert len(webhook.messages) == 1


def test_serve_tries_again_by_itself_and_a_slow_receiver_delays_nothing(notified: Shop, webhook: Webhook) -> None:
    notified.now = datetime.now(UTC).astimezone()
    webhook.status = 503
    notified.send(row("A", code="12"))
    notify(notified.as_run)
    again_at_once(notified)
    webhook.status, webhook.seconds = 200, 1
    logged: list[str] = []
    begin = time.monotonic()
    with Notifier(notified.settings, lambda event, **_: logged.append(event), seconds=0.1):
        assert time.monotonic() - begin < 0.5
        while not webhook.messages:
            time.sleep(0.05)
            assert time.monotonic() - begin < 20
    assert waits(notified) == [], "a message that is on its way is noted as sent before it ends"
    assert logged == ["notices sent"]


def test_a_failure_to_notify_fails_no_run(notified: Shop, worker: Worker) -> None:
    notified.drop("first.csv", csv_of(row("A", quantity="1")))
    ended = worker.run(
        "run", "--json", environment=desk(notified, CARDS_NOTIFY="nonsense://x me@example.com", CARDS_NOTIFY_MAIL="")
    )
    assert (ended.code, len(json.loads(ended.out)["submissions"])) == (0, 1)
    assert ended.err == ""
    notified.drop("second.csv", csv_of(row("B", code="12")))
    ended = worker.run(
        "run", "--json", environment=desk(notified, CARDS_NOTIFY="nonsense://x me@example.com", CARDS_NOTIFY_MAIL="")
    )
    assert (ended.code, len(json.loads(ended.out)["submissions"])) == (0, 1)
    assert "nonsense://… (" in ended.err
    assert "Apprise does not know such an address" in ended.err
    assert "mail to …@example.com (" in ended.err
    assert "CARDS_NOTIFY_MAIL" in ended.err


def test_who_is_killed_while_a_message_is_on_its_way_sends_it_once_more(
    notified: Shop, webhook: Webhook, mail: MailServer, worker: Worker
) -> None:
    webhook.seconds = 1
    notified.drop("first.csv", csv_of(row("A", code="12")))
    worker.start("run", environment=desk(notified))
    while not webhook.messages:
        time.sleep(0.02)
    worker.kill()
    assert worker.end().code == -9
    webhook.seconds = 0
    assert worker.run("run", environment=desk(notified)).code == 0
    assert len(webhook.messages) == 1, "it may still be on its way"
    again_at_once(notified)
    assert worker.run("run", environment=desk(notified)).code == 0
    assert (len(webhook.messages), len(mail.messages)) == (2, 1)
    assert waits(notified) == []


@pytest.mark.parametrize("first", sampled(range(32), 5))
def test_who_is_killed_tells_at_least_once_and_once_more_a_kill_at_most(
    first: int, notified: Shop, webhook: Webhook, mail: MailServer, worker: Worker, tmp_path: Path
) -> None:
    """At every step of it: before and after the commit of the file and of its notice, and before a message is noted as sent."""
    counted = tmp_path / "steps"
    notified.drop("0.csv", csv_of(row("A0", code="12")))
    assert worker.run("run", environment=desk(notified), before=0, steps_file=str(counted)).code == 0
    steps = int(counted.read_text())
    assert steps > 60
    repeated = 0
    for number in range(first + 1, steps + 1, 32):
        notified.drop(f"{number}.csv", csv_of(row(f"A{number}", code="12")))
        assert worker.run("run", environment=desk(notified), before=number).code == -9
        notified.registry.execute("UPDATE strikes SET times = 0")
        again_at_once(notified)
        assert worker.run("run", environment=desk(notified)).code == 0
        for messages in (webhook.messages, mail.messages):
            heard = sum(f"{number}.csv was answered" in message.body for message in messages)
            assert 1 <= heard <= 2, number
            repeated += heard - 1
        assert waits(notified) == []
    print(f"repeated {repeated} times")


# -- addresses are secret ------------------------------------------------------------------------------------------------

SECRET = "hush4711"
ADDRESSES = [
    f"slack://{SECRET}/B1/C1/#cards", f"tgram://{SECRET}/1", f"json://user:{SECRET}@hooks.example.com:8443/{SECRET}?+X={SECRET}",
    f"mailtos://desk:{SECRET}@example.com", f"https://hooks.slack.com/services/{SECRET}/B/C", f"{SECRET}@example.com",
    f"xml://hooks.example.com?x={SECRET}", f"json://{SECRET}@", f"ntfy://{SECRET}", f"JSON://a/{SECRET}",
]  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_what_is_secret(address: str) -> None:
    channel = Channel("acme", address)
    for shown in (mask_address(address), channel.shown, repr(channel), f"{channel}", mask_addresses(address)):
        assert SECRET not in shown
    assert channel.key == Channel("", address).key != Channel("", f"{address}x").key


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("json://user:pw@hooks.example.com:8443/x", "json://hooks.example.com/…"), ("slack://A/B/C", "slack://…"),
        ("me@example.com", "mail to …@example.com"), ("https://outlook.office.com/webhook/x", "https://outlook.office.com/…"),
    ],
)  # fmt: skip
def test_an_address_is_shown_with_what_tells_it_from_others(address: str, shown: str) -> None:
    assert mask_address(address) == shown


def test_the_catalogue_shows_no_address(notified: Shop, worker: Worker, tmp_path: Path) -> None:
    load(notified, acme=f"json://user:{SECRET}@hooks.example.com/ {SECRET}@example.com")
    path = tmp_path / "catalogue.xlsx"
    said = [worker.run("catalogue", "show", "--write", str(path), environment=environment(notified))]
    said += [worker.run("catalogue", "show", "--json", environment=environment(notified))]
    assert fastexcel.read_excel(path).load_sheet("Accounts").to_polars()["Notify"][0].count(SECRET) == 2, "it is to be loaded"
    load(notified, acme=f"json://user:{SECRET}@hooks.example.com/x")
    said += [worker.run("catalogue", "diff", str(path), *how, environment=environment(notified)) for how in ([], ["--json"])]
    path.unlink()
    assert all("json://hooks.example.com/… (" in one.out for one in said)
    assert all(one.code == 0 and SECRET not in one.out + one.err for one in said)
    assert (
        len(
            {
                re.sub(r".*\((\w{6})\).*", r"\1", part)
                for part in json.loads(said[-1].out)["changes"][0]["row"]["Notify"].split("→")
            }
        )
        == 2
    )


@pytest.mark.parametrize("notify", [f"{SECRET}", f"json://a b {SECRET} c@d"])
def test_an_address_that_cant_be_one_is_refused_without_showing_it(
    notify: str, notified: Shop, worker: Worker, tmp_path: Path
) -> None:
    path = tmp_path / "catalogue.xlsx"
    accounts = [("acme", "10023456", "7001", "", "whole", notify, ""), ("acme", "10023456", "7002", "", "whole", "x@y", "")]
    headers = [column.header for column in catalogue.ACCOUNTS]
    write_workbook(path, {"Accounts": [headers, *accounts], "Access Numbers": [["Access Number", "Customer Account Number"]]})
    ended = worker.run("catalogue", "load", str(path), environment=environment(notified))
    path.unlink()
    assert ended.code == 2
    assert "not mail or Apprise addresses, separated by spaces" in ended.err
    assert "is notified in two ways" in ended.err
    assert SECRET not in ended.err


def test_no_trace_of_an_address_is_left_anywhere(notified: Shop, worker: Worker, webhook: Webhook) -> None:
    """Neither in the registry nor in what is printed, whether a channel accepts or refuses."""
    address = f"{webhook.url(SECRET)}?+X-Token={SECRET}"
    environment = desk(
        notified, CARDS_NOTIFY=f"{address} slack://{SECRET}/x gotify://127.0.0.1:1/{SECRET} mailto://u:{SECRET}@127.0.0.1:1"
    )
    notified.drop("first.csv", csv_of(row("A", code="12")))
    said = [worker.run(*command, environment=environment) for command in (["run"], ["notify", "test"], ["notify", "list"])]
    assert [one.code for one in said] == [0, 1, 0]
    assert all(SECRET not in one.out + one.err for one in said)
    assert said[0].err.count("did not accept 1 notice") == 3
    for table in ("notices", "notice_deliveries", "watermarks"):
        assert SECRET not in str(notified.registry.select(columns_of(table), f"FROM {table}").rows())
    assert len(webhook.messages) == 3, "to the operator, to acme, and the test"


def test_apprise_logs_no_address(tmp_path: Path) -> None:
    """With every logger open, nothing comes out of the process that sends."""
    settings = load_settings(_env_file=None, home=tmp_path)
    with AppriseProcess(settings) as apprise:
        outcome = apprise.send(Channel("", f"json://127.0.0.1:1/{SECRET}"), "title", "body")
        assert apprise._process is not None
        assert {os.readlink(f"/proc/{apprise._process.pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}  # noqa: PTH115
        assert SECRET not in Path(f"/proc/{apprise._process.pid}/cmdline").read_text()
        assert SECRET not in Path(f"/proc/{apprise._process.pid}/environ").read_text()
    assert outcome == Outcome(False, "it can't be reached, or refuses")


@pytest.mark.parametrize("scheme", sorted(LOCAL))
def test_services_that_work_on_this_machine_are_refused(scheme: str) -> None:
    with pytest.raises(UsageError, match="works on this machine alone"):
        to_url(f"{scheme}://x", "")


def test_the_local_services_of_apprise_are_all_known() -> None:
    """Those that import a library of the desktop, the system's log or a device, or run programs."""
    code = (
        "import apprise.plugins, json; from apprise.manager_plugins import NotificationManager as M; m = M()\n"
        "print(json.dumps({one: m[one].__module__ for one in m.schemas()} | {'': apprise.plugins.__file__}))"
    )
    known = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    folder = Path(known.pop("")).parent
    local = re.compile(r"^\s*(?:import|from) (?:dbus|gi|syslog|hid|subprocess|win32\w*|blink1)\b", re.MULTILINE)
    suspects = {f"apprise.plugins.{path.stem}" for path in folder.glob("*.py") if local.search(path.read_text("utf-8"))}
    assert len(suspects) >= 6
    assert {scheme for scheme, module in known.items() if module in suspects} <= LOCAL
    assert len(known) > 150


def test_the_process_that_sends_reads_no_file_and_does_not_work_on_this_machine(tmp_path: Path, webhook: Webhook) -> None:
    code = (
        "import sys, json; from pipelines.notify.apprise_worker import prepare; a = prepare(json.loads(sys.argv[1]))\n"
        "print(a.Apprise.instantiate('syslog://'), list(a.AppriseAttachment()) or a.AppriseAttachment().add(sys.argv[2]), bool(a.Apprise.instantiate('json://h')))"
    )
    file = tmp_path / "secret.txt"
    file.write_text("secret")
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sorted(LOCAL)), str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "False", "True"]


def test_certificates_are_always_verified() -> None:
    for off in ("verify=no", "Verify=0", "a=1&verify=FALSE"):
        with pytest.raises(UsageError, match="certificates are always verified"):
            to_url(f"jsons://example.com/?{off}", "")
        with pytest.raises(UsageError, match="certificates are always verified"):
            to_url("me@example.com", f"mailtos://example.com?{off}")
    assert to_url("jsons://example.com/?verify=yes", "") == "jsons://example.com/?verify=yes"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost that nobody knows, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made = (folder / "cert.pem", folder / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made


@pytest.mark.parametrize("is_known", [False, True])
def test_a_receiver_whose_certificate_is_not_known_gets_nothing(
    is_known: bool, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_known:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with Webhook(*certificate) as webhook, MailServer(*certificate) as mail:
        server = mail.url.replace("mailto://127.0.0.1", "mailtos://localhost")
        with AppriseProcess(load_settings(_env_file=None, home=tmp_path, notify_mail=server)) as apprise:
            addresses = [webhook.url().replace("json://127.0.0.1", "jsons://localhost"), DESK]
            accepted = [apprise.send(Channel("", address), "title", "body").accepted for address in addresses]
    assert accepted == [is_known] * 2
    assert [len(webhook.messages), len(mail.messages)] == [int(is_known)] * 2


def test_a_mail_address_takes_a_mail_server() -> None:
    with pytest.raises(UsageError, match="CARDS_NOTIFY_MAIL"):
        to_url("me@example.com", "")
    with pytest.raises(UsageError, match="mailtos://"):
        to_url("me@example.com", "json://example.com")
    assert to_url("me@example.com", "mailtos://u:p%40@example.com:465?from=c@example.com&to=old@example.com") == (
        "mailtos://u:p%40@example.com:465?from=c%40example.com&to=me%40example.com"
    )


def test_words_hold_no_code_and_nothing_that_a_service_would_follow(notified: Shop, webhook: Webhook, mail: MailServer) -> None:
    notified.drop("<!channel> @everyone [x](y) 30355501420007.csv", csv_of(row("A", code="12")))
    notified.drop("30355501420007 30355501420008.csv", csv_of(row("B", code="12")))
    notified.run()
    assert notify(notified.as_run) == []
    for body in (webhook.messages[0].body, mail.messages[0].body):
        assert "30355501420007" not in body
        assert "303555••••••••" in body
        assert not set("<>@[]`|*") & set(body)


# -- the commands --------------------------------------------------------------------------------------------------------


def test_each_channel_can_be_tested(notified: Shop, worker: Worker, webhook: Webhook, mail: MailServer) -> None:
    ended = worker.run("notify", "test", "--json", environment=desk(notified))
    assert (ended.code, ended.err) == (0, "")
    (channel,) = json.loads(ended.out)["channels"]
    assert re.fullmatch(r"mail to …@example\.com \(\w{6}\)", channel.pop("channel"))
    assert channel == {"accepted": True, "why": ""}
    assert only(mail.messages).body.strip() == "This is a test. Notices for the operator arrive here."
    assert worker.run("notify", "test", "--reseller", "acme", environment=desk(notified)).code == 0
    assert only(webhook.messages).body == "This is a test. Notices for the reseller acme arrive here."
    webhook.status = 401
    ended = worker.run("notify", "test", "--reseller", "acme", environment=desk(notified))
    assert ended.code == 1
    assert "it answered 401" in ended.out
    ended = worker.run("notify", "test", "--reseller", "globex", environment=desk(notified))
    assert (ended.code, ended.err) == (
        2,
        "cards: globex has no channels: fill in the column Notify of its rows in the catalogue.\n",
    )
    ended = worker.run("notify", "test", environment=environment(notified))
    assert (ended.code, ended.err) == (2, "cards: There are no channels: set CARDS_NOTIFY.\n")


def test_what_waits_is_listed(notified: Shop, worker: Worker, webhook: Webhook) -> None:
    assert worker.run("notify", "list", environment=desk(notified)).out == "Nothing waits to be sent.\n"
    webhook.status = 503
    notified.send(row("A", code="12"))
    notify(notified.as_run)
    (waiting,) = json.loads(worker.run("notify", "list", "--json", environment=desk(notified)).out)["waiting"]
    assert re.fullmatch(r"json://127\.0\.0\.1/… \(\w{6}\)", waiting.pop("channel"))
    assert 40 < waiting.pop("next_try_seconds") <= 60
    assert waiting == {"for": "acme", "notices": 1, "oldest": "2026-10-05T09:30:00-06:00", "tries": 1}
    load(notified)
    assert "not configured (" in worker.run("notify", "list", environment=desk(notified)).out
