"""Channels: where a recipient is notified, and a process that sends through them.

An address holds passwords and tokens. It goes to the process that sends and nowhere else: people see the scheme and, where it
is no secret, the host; the registry has a digest.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pipelines.common.errors import UsageError
from pipelines.common.settings import Settings
from pipelines.common.worker_process import WorkerProcess
from schemas.notices import ADDRESS, OPERATOR

SECONDS: Final = 30
"""So long a message may take to be sent."""
LOCAL: Final = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
"""Schemes of Apprise that work on this machine: they run programs, or talk to its desktop, its log or its devices."""
_MAIL: Final = ("mailto", "mailtos")
_HOST_IS_NO_SECRET: Final = frozenset(
    {"apprise", "apprises", "form", "forms", "http", "https", "json", "jsons", "mmost", "mmosts", *_MAIL, "xml", "xmls"}
)
"""Other schemes may have a token where these have the host."""
_NO: Final = frozenset({"no", "n", "false", "f", "0", "off", "disable", "never", "deny", "block"})
_NETWORK_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
                             "SSL_CERT_FILE", "SSL_CERT_DIR")  # fmt: skip


class Channel(NamedTuple):
    """An address of a recipient (a reseller, or OPERATOR). It is never shown in full."""

    recipient: str
    address: str

    @property
    def key(self) -> str:
        """What the registry knows the channel by."""
        return channel_key(self.address)

    @property
    def shown(self) -> str:
        """What people see of it: enough to find it in a list of a few."""
        return f"{mask_address(self.address)} ({self.key[:6]})"

    def __repr__(self) -> str:
        return f"Channel({self.recipient!r}, {self.shown!r})"


def channel_key(address: str) -> str:
    """The digest of an address."""
    return hashlib.sha256(address.encode()).hexdigest()[:32]


def channels(settings: Settings, of_resellers: dict[str, str]) -> list[Channel]:
    """The channels of the operator and of resellers (their names, and addresses separated by spaces), each once."""
    named = {OPERATOR: settings.notify, **of_resellers}
    return [Channel(recipient, address) for recipient, addresses in named.items() for address in _each(addresses)]


def _each(addresses: str) -> Iterable[str]:
    return dict.fromkeys(addresses.split())


def mask_address(address: str) -> str:
    """The scheme of an address, and its host where that is no secret."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return f"mail to …@{address.rpartition('@')[2]}" if re.match(ADDRESS, address) else "…"
    if scheme.lower() not in _HOST_IS_NO_SECRET:
        return f"{scheme}://…"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    return f"{scheme}://{host}/…" if re.fullmatch(r"[\w.-]+", host) else f"{scheme}://…"


def mask_addresses(addresses: str) -> str:
    """Addresses, separated by spaces, as people see them: another address looks otherwise."""
    return " ".join(Channel(OPERATOR, one).shown for one in _each(addresses))


def to_url(address: str, mail: str) -> str:
    """What Apprise is to send to. `mail`: the address of the mail server. Raises UsageError when that can't be used."""
    if "://" not in address:
        return _through_mail_server(address, mail)
    scheme = address.partition("://")[0].lower()
    if scheme in LOCAL:
        raise UsageError(f"{scheme}:// works on this machine alone, so it can't be used")
    options = {name.lower(): value.lower() for name, value in parse_qsl(address.partition("?")[2], keep_blank_values=True)}
    if options.get("verify") in _NO:
        raise UsageError("it has verify=no: certificates are always verified")
    return address


def _through_mail_server(address: str, mail: str) -> str:
    if not mail:
        raise UsageError("a mail address takes the mail server, in CARDS_NOTIFY_MAIL (mailtos://user:password@host)")
    if mail.partition("://")[0].lower() not in _MAIL:
        raise UsageError("CARDS_NOTIFY_MAIL takes one address that begins with mailtos:// or mailto://")
    to_url(mail, "")
    parts = urlsplit(mail)
    options = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name.lower() != "to"]
    return parts._replace(query=urlencode([*options, ("to", address)], quote_via=quote)).geturl()


class Outcome(NamedTuple):
    """Whether a message was accepted, and if not, why."""

    accepted: bool
    why: str = ""


class AppriseProcess(WorkerProcess):
    """The process that sends. It is started when there is something to send, and killed when a receiver takes too long."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("pipelines.notify.apprise_worker", sorted(LOCAL), SECONDS)
        self._mail = settings.notify_mail

    def send(self, channel: Channel, title: str, body: str) -> Outcome:
        """Send a message. Raises nothing: the reason for which it was not accepted has nothing of the address."""
        try:
            request = {"url": to_url(channel.address, self._mail), "title": title, "body": body}
            (accepted, why), _ = self.ask(json.dumps(request).encode())
            return Outcome(bool(accepted), str(why))
        except UsageError as error:
            return Outcome(False, str(error))
        except TimeoutError:
            return Outcome(False, f"it took more than {SECONDS} s")
        except (EOFError, OSError, ValueError):
            return Outcome(False, "the process that sends died of it")

    def _environment(self) -> dict[str, str]:
        """As of any child; and how this network is left. No file of passwords is looked into."""
        names = [*_NETWORK_VARIABLES, *(name.lower() for name in _NETWORK_VARIABLES)]
        network = {name: os.environ[name] for name in names if name in os.environ}
        return super()._environment() | network | {"NETRC": os.devnull}
