"""Whole hosts: Debian with real systemd inside, on a switch of their own, with `corenode` as their only software.

`image` makes their file system once, `lab` is the room they stand in (namespaces, a switch, a control group), `host` is
one of them, `cluster` makes a cluster of several.
"""
