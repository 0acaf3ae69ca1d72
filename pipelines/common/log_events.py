"""What is logged: the words of each event, its level and its meaning. The table of the reference is made from this."""

from typing import Final

FILE_RECEIVED: Final = "file received"
FILE_ANSWERED: Final = "file answered"
TRIAL_ANSWERED: Final = "trial answered"
PLACEMENT_WRITTEN: Final = "placement written"
REPORT_ENTERED: Final = "report entered"
REPORT_REPEATED: Final = "report repeated"
REPORT_REJECTED: Final = "report rejected"
REPORT_ON_HOLD: Final = "report on hold"
NIGHT_CLOSED: Final = "night closed"
NIGHT_RUNNING: Final = "night already running"
RELEASE_WRITTEN: Final = "release written"
REFUSED_WRITTEN: Final = "refused written"
OUTCOME_WRITTEN: Final = "outcome written"
ARCHIVE_WRITTEN: Final = "archive written"
NOT_DONE: Final = "not done"
RUN_FAILED: Final = "run failed"
FILES_WAIT: Final = "files wait"
NOTICES_SENT: Final = "notices sent"
NOT_NOTIFIED: Final = "not notified"
STARTING: Final = "starting Prefect"
SERVING: Final = "serving"
METRICS_SERVED: Final = "metrics served"
NO_METRICS: Final = "no metrics"
PREFECT_AWAY: Final = "Prefect unreachable"
STOPPED: Final = "stopped cleanly"

EVENTS: Final = {
    FILE_RECEIVED: ("info", "an order file was read; it is about to be decided"),
    FILE_ANSWERED: ("info", "a submission folder is complete; `seconds` since the file was dropped"),
    TRIAL_ANSWERED: ("info", "the same for a file in `check`"),
    PLACEMENT_WRITTEN: ("info", "the network has a new placement file"),
    REPORT_ENTERED: ("info", "a network report was entered"),
    REPORT_REPEATED: ("info", "the same bytes came before and say nothing new"),
    REPORT_REJECTED: ("warning", "a network report could not be used, for these `reasons`"),
    REPORT_ON_HOLD: ("warning", "a network report waits for `cards approve` or `cards reject`"),
    NIGHT_CLOSED: ("info", "a night with its figures; `repeated`: nothing new had come, and nothing was changed"),
    NIGHT_RUNNING: ("info", "another process reconciles; nothing was done here"),
    RELEASE_WRITTEN: ("info", "a night released cards of a submission"),
    REFUSED_WRITTEN: ("info", "a night listed refused codes of a submission"),
    OUTCOME_WRITTEN: ("info", "a night said what became of the changes of a submission"),
    ARCHIVE_WRITTEN: ("info", "submissions of a month, or other old files, were moved into an archive"),
    NOT_DONE: ("error", "an answer could not be written, or figures do not agree; all else was done"),
    RUN_FAILED: ("error", "a run could not do its work, or not all of it"),
    FILES_WAIT: ("warning", "files in the inbox that no run answers, and why"),
    NOTICES_SENT: ("info", "a channel of the operator or of a reseller has accepted notices"),
    NOT_NOTIFIED: ("warning", "a channel did not accept notices, which are sent later, or nobody could be notified"),
    STARTING: ("info", "`cards serve` starts a Prefect server of its own"),
    SERVING: ("info", "`cards serve` is up: its `inbox`, and the address and password file of Prefect's `page`"),
    METRICS_SERVED: ("info", "where metrics and health checks are served"),
    NO_METRICS: ("warning", "metrics and health checks could not be served; all else goes on"),
    PREFECT_AWAY: ("warning", "`cards serve` can't reach Prefect's server, and tries again in a minute"),
    STOPPED: ("info", "`cards serve` has finished its work"),
}
"""Each event with its level and its meaning."""
