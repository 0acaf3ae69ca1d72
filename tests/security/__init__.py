"""The attacker's suite: what a reseller with its own inbox and outbox, or a local user, could do to the others."""
