"""Measures whole commands of the product: seconds and peak memory, told as they are."""
