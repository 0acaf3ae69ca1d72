"""How the workbooks look: rules that every one of them keeps, and pictures by LibreOffice."""
