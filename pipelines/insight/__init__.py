"""What analysts ask, answered from frames: no SQL and no workbook in here."""
