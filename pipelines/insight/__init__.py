"""What analysts and managers ask, from frames: no SQL and no workbook is in here."""
