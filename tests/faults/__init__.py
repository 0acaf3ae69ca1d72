"""What the product is put through: kills, full disks, servers that go away, many workers, other days and other clocks."""
