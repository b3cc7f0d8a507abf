"""One suite a contract, to be subclassed by whoever implements it."""
