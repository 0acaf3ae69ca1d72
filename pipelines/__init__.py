"""The way of an order file, step by step, and of the night that follows."""
