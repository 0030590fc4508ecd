"""`/v3/kv/...`."""

from core.api.http.message import Handler
from core.api.v3.calls import Context, Unary
from core.api.v3.messages import RangeRequest
from core.api.v3.ranges import Ranges


def kv_handlers(context: Context) -> dict[str, Handler]:
    """The handlers by path."""
    return {"kv/range": Unary(context, RangeRequest, Ranges(context).serve)}
