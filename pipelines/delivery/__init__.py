"""Everything that is written to the outbox."""
