"""Omaha as hosts of other makes speak it."""
