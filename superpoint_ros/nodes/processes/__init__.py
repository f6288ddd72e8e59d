"""Processes of the nodes, and what they hold of the system."""
