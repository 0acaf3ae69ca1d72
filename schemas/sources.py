"""Who a file comes from: the folders of inbox and outbox that belong to no reseller."""

from typing import Final

OPERATOR: Final = "house"
"""The source of the operator's own files, which lie in the inbox itself."""
NETWORK: Final = "network"
"""The source of order-ID reports."""
RECONCILIATION: Final = "reconciliation"
"""The folder of the outbox with a workbook a night."""
CHECK: Final = "check"
"""The folder in that of a source for trials: what is dropped there is answered and not placed."""
TRIAL: Final = "-TRIAL"
"""How the name of a folder with the answer to a trial ends."""
RESERVED: Final = (NETWORK, RECONCILIATION, OPERATOR, CHECK)
"""Names that no reseller can have."""
RESELLER: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""The name of a reseller, which is the name of its folders."""
