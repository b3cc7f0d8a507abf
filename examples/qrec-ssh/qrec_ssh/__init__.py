"""Commands on other machines, as qrec records them."""
