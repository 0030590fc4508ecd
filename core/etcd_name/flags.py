"""etcd 3.4's flags: which there are, and what becomes of each here."""

import msgspec


class Flag(msgspec.Struct, frozen=True):
    """One flag of etcd. Without `ignored` and `refused` it is translated."""

    name: str
    boolean: bool = False
    unchanged: tuple[str, ...] = ()
    """Values with which it asks for nothing that is not so anyway."""
    ignored: str = ""
    """Why any other value may be left aside."""
    refused: str = ""
    """Why any other value cannot be taken, and what to do."""

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"ETCD_{self.name.upper().replace('-', '_')}"


_GRPC = "clients are served over HTTP/1.1 here"
_DISK = "the store here keeps its log and snapshots otherwise"
_PROXY = "there is no proxy here; run a node on that host, or give its programs the members' addresses"
_REVOKE = "a revocation list is not read; revoke a certificate with `corenode ca revoke`"
_NAMES = "names of certificates are not restricted by flags; a client's rights follow from its certificate's role"
_AUTO = "certificates come from an authority: `corenode ca init`, then `corenode ca issue`"
_DNS = "DNS is not asked; name the members with --initial-cluster"
_MEMBER = "a member's certificate must carry its name anyway; leave it out"
_LOGS = "lines of the log go to standard error"
_CHECKS = "members compare their states by themselves"

_TRANSLATED = """
    name data-dir heartbeat-interval election-timeout listen-peer-urls listen-client-urls quota-backend-bytes
    max-request-bytes initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
    advertise-client-urls auto-compaction-retention auto-compaction-mode cert-file key-file trusted-ca-file
    peer-cert-file peer-key-file peer-trusted-ca-file cors log-level discovery
"""

FLAGS = {
    flag.name: flag
    for flag in (
        *(Flag(name) for name in _TRANSLATED.split()),
        Flag("client-cert-auth", boolean=True),
        Flag("force-new-cluster", boolean=True),
        Flag("debug", boolean=True),
        Flag("version", boolean=True),
        Flag("config-file"),
        # what is so anyway, or is done otherwise without anybody losing by it
        Flag("enable-v2", True, ("true",), "the v2 dialect is always served"),
        Flag("pre-vote", True, ("true",), "an election always begins with a round of asking"),
        Flag("strict-reconfig-check", True, ("true",), "a change that would lose the quorum is always refused"),
        Flag("peer-client-cert-auth", True, ("true", "false"), "members always show certificates"),
        Flag("initial-election-tick-advance", True, ("true",), "elections have their own pace"),
        Flag("discovery-fallback", unchanged=("proxy", "exit"), refused=_PROXY),
        Flag("wal-dir", unchanged=("",), ignored="the log lies in the data directory"),
        Flag("snapshot-count", ignored=_DISK),
        Flag("max-snapshots", ignored=_DISK),
        Flag("max-wals", ignored=_DISK),
        Flag("backend-batch-interval", ignored=_DISK),
        Flag("backend-batch-limit", ignored=_DISK),
        Flag("experimental-backend-bbolt-freelist-type", ignored=_DISK),
        Flag("experimental-compaction-batch-limit", ignored="compaction works in slices by itself"),
        Flag("experimental-enable-lease-checkpoint", True, ("true",), "leases go on across a change of the leader"),
        Flag("experimental-watch-progress-notify-interval", ignored="progress is told every ten minutes"),
        Flag("experimental-warning-apply-duration", ignored="slowness is watched otherwise: see /metrics"),
        Flag("experimental-initial-corrupt-check", True, ("false",), _CHECKS),
        Flag("experimental-corrupt-check-time", unchanged=("0s", "0"), ignored=_CHECKS),
        Flag("max-txn-ops", unchanged=("128",), ignored="a transaction has at most 128 operations"),
        Flag("max-concurrent-streams", ignored=_GRPC),
        Flag("grpc-keepalive-min-time", ignored=_GRPC),
        Flag("grpc-keepalive-interval", ignored=_GRPC),
        Flag("grpc-keepalive-timeout", ignored=_GRPC),
        Flag("host-whitelist", unchanged=("*", ""), ignored="a web page must use a name of the node's own URLs"),
        Flag("cipher-suites", unchanged=("",), ignored="TLS 1.3 has no weak ones to exclude"),
        Flag("bcrypt-cost", ignored="passwords are hashed with scrypt"),
        Flag("auth-token-ttl", ignored="tokens live five minutes beyond their last use"),
        Flag("metrics", unchanged=("basic", "extensive"), ignored="/metrics shows all there is"),
        Flag("enable-pprof", True, ("false",), "there is no profiling over HTTP"),
        Flag("logger", unchanged=("zap", "capnslog"), ignored=_LOGS),
        Flag("log-outputs", unchanged=("default", "stderr", "systemd/journal"), ignored=_LOGS),
        Flag("log-output", unchanged=("default", "stderr"), ignored=_LOGS),
        Flag("log-package-levels", unchanged=("",), ignored="there is one level for all: --log-level"),
        *(
            Flag(f"proxy-{what}", ignored="there is no proxy here")
            for what in ("failure-wait", "refresh-interval", "dial-timeout", "write-timeout", "read-timeout")
        ),
        # what cannot be kept
        Flag("proxy", unchanged=("off",), refused=_PROXY),
        Flag("discovery-proxy", unchanged=("",), refused="the discovery service is asked directly; leave it out"),
        Flag("discovery-srv", unchanged=("",), refused=_DNS),
        Flag("discovery-srv-name", unchanged=("",), refused=_DNS),
        Flag("client-crl-file", unchanged=("",), refused=_REVOKE),
        Flag("peer-crl-file", unchanged=("",), refused=_REVOKE),
        Flag("client-cert-allowed-hostname", unchanged=("",), refused=_NAMES),
        Flag("peer-cert-allowed-cn", unchanged=("",), refused=_MEMBER),
        Flag("peer-cert-allowed-hostname", unchanged=("",), refused=_MEMBER),
        Flag(
            "experimental-peer-skip-client-san-verification",
            True,
            ("false",),
            refused="a member's certificate is always verified",
        ),
        Flag("auto-tls", True, ("false",), refused=_AUTO),
        Flag("peer-auto-tls", True, ("false",), refused=_AUTO),
        Flag("auth-token", unchanged=("", "simple"), refused="only simple tokens are given; leave it out"),
        Flag(
            "listen-metrics-urls",
            unchanged=("",),
            refused="/metrics and /health are served at --listen-client-urls; take them from there",
        ),
        Flag("experimental-enable-v2v3", unchanged=("",), refused="both dialects show the same keys anyway"),
    )
}
