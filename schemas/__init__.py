"""What a file, an order, a code, a network report and the catalogue must be. Never imports pipelines."""
