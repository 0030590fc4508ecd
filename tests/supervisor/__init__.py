"""The embedded supervisor, with real processes. Judge of states, results and exit codes are systemd's manual pages."""
