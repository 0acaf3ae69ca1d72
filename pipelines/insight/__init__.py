"""What analysts ask, from frames: no SQL and no workbook in here."""
