"""What the nodes say about themselves, on /diagnostics and in the log."""
