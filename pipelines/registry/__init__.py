"""The registry. All SQL of the product is in this package; frames go in and come back."""

from pipelines.registry.store import Answers, Placed, Registry, open_registry
from pipelines.registry.tables import ACCESS, ACCOUNT, VERSION

__all__ = ["ACCESS", "ACCOUNT", "VERSION", "Answers", "Placed", "Registry", "open_registry"]
