"""Between arrays and messages."""
