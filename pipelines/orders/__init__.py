"""From text tables to decisions about orders."""
