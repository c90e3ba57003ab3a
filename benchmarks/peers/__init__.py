"""The loaders that are compared. Each is a program that runs in an interpreter of its own; see ``protocol.py``."""
