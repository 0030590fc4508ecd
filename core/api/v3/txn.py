"""`/v3/kv/txn`: compare, then do one of two things, all at one revision."""

from collections.abc import Iterator
from functools import partial

from msgspec.structs import replace

from core.api.v3.calls import Call, Context
from core.api.v3.encoding import int64
from core.api.v3.errors import invalid
from core.api.v3.leasing import permit_lease
from core.api.v3.messages import RESULTS, TARGETS, Comparison, RequestOp, TxnRequest
from core.api.v3.operations import delete_of, delete_pieces, put_fields, put_of
from core.api.v3.ranges import Options, options_of, shaped
from core.kv.access import Right
from core.kv.commands import Compare, DeleteRange, Operation, Put, Range, Relation, Target, Txn
from core.kv.flat import check_duplicates
from core.kv.outcomes import DeleteDone, PutDone, RangeDone, TxnDone
from core.kv.reserved import NOWHERE, is_reserved

MAX_OPERATIONS = 128
"""Comparisons or operations of a branch; what is nested shares them."""
MAX_IN_ALL = 1024
"""Operations of all branches together. Nested ones could be tens of thousands, and are carried out in one piece."""
BEGIN = b'{"header":'
PIECE_BYTES = 64 << 10
"""Of an answer that are made at once: about a millisecond."""
_RELATIONS: tuple[Relation, ...] = ("=", ">", "<", "!=")
_TARGETS: tuple[Target, ...] = ("version", "create", "mod", "value", "lease")


class Shape:
    """How a transaction is to be answered: for each operation of each branch, the options of its range, whether a
    write shows what it replaced, or the shape of the transaction within."""

    __slots__ = ("failure", "success")

    def __init__(self, success: "list[Options | bool | Shape]", failure: "list[Options | bool | Shape]") -> None:
        self.success = success
        self.failure = failure


class Transactions:
    """The handler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._header = context.header

    def serve(self, request: TxnRequest, call: Call) -> None:
        """Answer one request. One that cannot write anything is a read."""
        command, shape = _txn_of(request, MAX_OPERATIONS)
        if _count(command) > MAX_IN_ALL:
            raise invalid("too many operations in txn request")
        check_duplicates(command)
        self._context.check_size(_size(command))
        self._permit(command, shape, call)
        if _mentions_reserved(command) and not call.reserve:
            command = _without_reserved(command)
        if _writes(command):
            call.propose(command, partial(self._done, shape, call))
        elif _serializable(request):
            self._read(command, shape, call)
        else:
            call.confirmed(partial(self._read, command, shape, call))

    def _read(self, command: Txn, shape: Shape, call: Call) -> None:
        call.send_slices(BEGIN, self._evaluated(command, shape))

    def _evaluated(self, command: Txn, shape: Shape) -> Iterator[bytes]:
        work = self._store.evaluation(command)
        while True:
            try:
                next(work)
            except StopIteration as end:
                done: TxnDone = end.value
                break
            yield b""
        yield from self._pieces(done, shape)

    def _done(self, shape: Shape, call: Call, done: TxnDone) -> None:
        call.send_slices(BEGIN, self._pieces(done, shape))

    def _pieces(self, done: TxnDone, shape: Shape) -> Iterator[bytes]:
        """What follows BEGIN, in pieces of a slice of work each."""
        waiting = [self._header.at(done.revision)]
        size = 0
        for piece in _fields(done, shape):
            waiting.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
        yield b"".join([*waiting, b"}"])

    def _permit(self, command: Txn, shape: Shape, call: Call) -> None:
        """RpcError unless whoever asks may do all of it, whichever way it goes."""
        for compare in command.compare:
            call.permit(Right.READ, compare.key, compare.end)
        for operations, shapes in ((command.success, shape.success), (command.failure, shape.failure)):
            for operation, inner in zip(operations, shapes, strict=True):
                if isinstance(operation, Txn) and isinstance(inner, Shape):
                    self._permit(operation, inner, call)
                elif isinstance(operation, Range):
                    call.permit(Right.READ, operation.key, operation.end)
                elif isinstance(operation, Put | DeleteRange):
                    end = operation.end if isinstance(operation, DeleteRange) else None
                    call.permit(Right.WRITE, operation.key, end)
                    if inner is True:
                        call.permit(Right.READ, operation.key, end)
                    if isinstance(operation, Put):
                        permit_lease(self._store, call, operation.lease)


def _txn_of(request: TxnRequest, budget: int) -> tuple[Txn, Shape]:
    """The command of a request, and how it is to be answered. RpcError 3."""
    used = max(len(request.compare), len(request.success), len(request.failure))
    if used > budget:
        raise invalid("too many operations in txn request")
    compare = tuple([_compare_of(each) for each in request.compare])
    success = [_operation_of(each, budget - used) for each in request.success]
    failure = [_operation_of(each, budget - used) for each in request.failure]
    command = Txn(compare, tuple([each[0] for each in success]), tuple([each[0] for each in failure]))
    return command, Shape([each[1] for each in success], [each[1] for each in failure])


def _compare_of(request: Comparison) -> Compare:
    if not request.key:
        raise invalid("key is not provided")
    target = TARGETS.number(request.target)
    result = RESULTS.number(request.result)
    if not 0 <= target < len(_TARGETS) or not 0 <= result < len(_RELATIONS):
        raise invalid("unknown kind of comparison")
    operands = (request.version, request.create_revision, request.mod_revision, request.value, request.lease)
    operand = operands[target]
    return Compare(
        request.key,
        _TARGETS[target],
        _RELATIONS[result],
        operand if isinstance(operand, bytes) else int64(operand),
        request.range_end or None,
    )


def _operation_of(request: RequestOp, budget: int) -> tuple[Operation, Options | bool | Shape]:
    if request.request_put is not None:
        return put_of(request.request_put), request.request_put.prev_kv
    if request.request_range is not None:
        options = options_of(request.request_range)
        cut = options.limit + 1 if options.limit and options.is_plain else 0
        return Range(options.key, options.end, options.revision, cut, options.count_only), options
    if request.request_delete_range is not None:
        return delete_of(request.request_delete_range), request.request_delete_range.prev_kv
    if request.request_txn is not None:
        return _txn_of(request.request_txn, budget)
    raise invalid("key not found")


def _count(command: Txn) -> int:
    """Operations of a transaction and of all within."""
    inner = [each for each in (*command.success, *command.failure) if isinstance(each, Txn)]
    return len(command.success) + len(command.failure) + sum(map(_count, inner))


def _size(command: Txn) -> int:
    """Bytes of the keys and values of a transaction."""
    size = sum(
        len(each.key) + (len(each.operand) if isinstance(each.operand, bytes) else 8) for each in command.compare
    )
    for operation in (*command.success, *command.failure):
        match operation:
            case Txn():
                size += _size(operation)
            case Put():
                size += len(operation.key) + len(operation.value)
            case _:
                size += len(operation.key)
    return size


def _mentions_reserved(command: Txn) -> bool:
    """Whether anything is asked of reserved keys."""
    return any(is_reserved(compare.key) for compare in command.compare) or any(
        _mentions_reserved(operation) if isinstance(operation, Txn) else is_reserved(operation.key)
        for operation in (*command.success, *command.failure)
    )


def _without_reserved(command: Txn) -> Txn:
    """The same for whoever may do nothing with reserved keys: they are not there. It writes none of them."""
    compare = [replace(each, key=NOWHERE, end=None) if is_reserved(each.key) else each for each in command.compare]
    return Txn(tuple(compare), tuple(map(_elsewhere, command.success)), tuple(map(_elsewhere, command.failure)))


def _elsewhere(operation: Operation) -> Operation:
    if isinstance(operation, Txn):
        return _without_reserved(operation)
    if isinstance(operation, Range) and is_reserved(operation.key):
        return replace(operation, key=NOWHERE, end=None)
    return operation


def _writes(command: Txn) -> bool:
    """Whether a transaction can change anything, whichever way it goes."""
    return any(
        _writes(operation) if isinstance(operation, Txn) else not isinstance(operation, Range)
        for operation in (*command.success, *command.failure)
    )


def _serializable(request: TxnRequest) -> bool:
    """Whether a transaction that only reads may be answered from what this node has: if all its ranges may, as in
    etcd, where comparisons do not count."""
    ranges = [each.request_range for each in (*request.success, *request.failure)]
    return bool(ranges) and all(each is not None and each.serializable for each in ranges)


def _fields(done: TxnDone, shape: Shape) -> Iterator[bytes]:
    """What follows the header in the answer to a transaction."""
    if done.succeeded:
        yield b',"succeeded":true'
    if not done.responses:
        return
    before = b',"responses":['
    for each, how in zip(done.responses, shape.success if done.succeeded else shape.failure, strict=True):
        yield before
        yield from _response(each, how)
        before = b","
    yield b"]"


def _response(done: PutDone | DeleteDone | RangeDone | TxnDone, how: Options | bool | Shape) -> Iterator[bytes]:
    header = b'{"header":{"revision":"%d"}' % done.revision
    match done:
        case PutDone():
            yield b'{"response_put":%b%b}}' % (header, put_fields(done, prev_kv=how is True))
        case DeleteDone():
            yield b'{"response_delete_range":%b' % header
            yield from delete_pieces(done, prev_kv=how is True)
            yield b"}}"
        case RangeDone() if isinstance(how, Options):
            yield b'{"response_range":%b' % header
            yield from shaped(how, done)
            yield b"}}"
        case TxnDone() if isinstance(how, Shape):
            yield b'{"response_txn":{"header":{}'
            yield from _fields(done, how)
            yield b"}}"
        case _:
            raise TypeError("the outcome of a transaction is not that of its operations")
