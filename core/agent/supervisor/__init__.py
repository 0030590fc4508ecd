"""The embedded supervisor."""
