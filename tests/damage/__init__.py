"""Damage that is planted in a home and its registry: whether `cards verify` finds it and `cards repair` mends it."""
