"""The requests of the service KV, as in etcd's rpc.proto."""

from __future__ import annotations

from core.api.v3.encoding import Enumeration, Int64, Message, Name

SORT_ORDERS = Enumeration("RangeRequest_SortOrder", "NONE", "ASCEND", "DESCEND")
SORT_TARGETS = Enumeration("RangeRequest_SortTarget", "KEY", "VERSION", "CREATE", "MOD", "VALUE")
RESULTS = Enumeration("Compare_CompareResult", "EQUAL", "GREATER", "LESS", "NOT_EQUAL")
TARGETS = Enumeration("Compare_CompareTarget", "VERSION", "CREATE", "MOD", "VALUE", "LEASE")


class RangeRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Read keys."""

    key: bytes = b""
    range_end: bytes = b""
    limit: Int64 = 0
    revision: Int64 = 0
    sort_order: Name = 0
    sort_target: Name = 0
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: Int64 = 0
    max_mod_revision: Int64 = 0
    min_create_revision: Int64 = 0
    max_create_revision: Int64 = 0


class PutRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Store a value."""

    key: bytes = b""
    value: bytes = b""
    lease: Int64 = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class DeleteRangeRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Delete keys."""

    key: bytes = b""
    range_end: bytes = b""
    prev_kv: bool = False


class Comparison(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """`Compare`: one condition of a transaction; `target` says which of the operands counts."""

    result: Name = 0
    target: Name = 0
    key: bytes = b""
    range_end: bytes = b""
    version: Int64 = 0
    create_revision: Int64 = 0
    mod_revision: Int64 = 0
    value: bytes = b""
    lease: Int64 = 0


class RequestOp(Message, forbid_unknown_fields=True, frozen=True):
    """One operation of a transaction: one of the four."""

    request_range: RangeRequest | None = None
    request_put: PutRequest | None = None
    request_delete_range: DeleteRangeRequest | None = None
    request_txn: TxnRequest | None = None


class TxnRequest(Message, forbid_unknown_fields=True, frozen=True):
    """Compare, then do one of two things."""

    compare: tuple[Comparison, ...] = ()
    success: tuple[RequestOp, ...] = ()
    failure: tuple[RequestOp, ...] = ()


class CompactionRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Forget history."""

    revision: Int64 = 0
    physical: bool = False
