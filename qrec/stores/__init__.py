"""The stores: what remembers.  `base` is the contract, every other module one implementation."""
