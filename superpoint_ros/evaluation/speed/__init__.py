"""How fast whole extractors are: the command ``benchmark``."""
