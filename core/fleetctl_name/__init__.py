"""The program under the name `fleetctl`: its verbs, flags, variables and tables, over the units of this cluster.

Promises: scripts that call fleetctl go on: names and meanings of flags, exit codes, what is printed on which stream.
Texts are sent and printed byte for byte. Where fleetctl itself was broken (a restart that did nothing, a destroy that
waited only when told not to, a start that waited for ever without a word) the documented behaviour is what happens.

Refused: fleet's registry in etcd (`--driver etcd`), `fleetctl verify`. `ssh`, and `--tunnel`, run the ssh program.

It owns nothing beyond its run; Ctrl-C ends it, and what was asked for goes on.
"""
