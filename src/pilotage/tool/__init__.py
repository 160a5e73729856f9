"""Tools, and the one way to call them."""
