"""From the inbox to text tables."""
