"""A store for qrec that is one text file."""
