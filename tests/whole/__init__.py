"""Proof by whole processes: real daemons on real ports, judged by real clients and by real etcd.

Every test starts its own servers on ports of its own with data below `tmp_path`, and ends only the processes it
started. Nothing here reaches into the code under test: what is said is said over HTTP, signals and files.
"""
