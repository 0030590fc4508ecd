"""Command line, configuration, client and the habits of a service: by themselves, and as whole processes."""
