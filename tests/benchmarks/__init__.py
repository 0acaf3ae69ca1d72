"""Measures whole commands of the product: seconds and peak memory, reported as they are."""
