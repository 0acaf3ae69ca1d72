"""Authorization codes and PINs."""
