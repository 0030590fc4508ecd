"""Why the state machine refuses a command. A refusal changes nothing and consumes no revision."""

from enum import StrEnum


class DamagedError(Exception):
    """The store holds what was never written to it, or lacks what was. No answer and no state may rest on it."""


class MissingRecordError(DamagedError, LookupError):
    """A row names a record that is not there."""


class DivergedError(DamagedError):
    """This member's state is not that of the others, and is not served."""


class KeyspaceError(Exception):
    """Any refusal by the state machine."""


class TreeError(KeyspaceError):
    """A refusal in the words of the v2 dialect: its code, cause, and the index at that moment."""

    KEY_NOT_FOUND = 100
    COMPARE_FAILED = 101
    NOT_A_FILE = 102
    NOT_A_DIRECTORY = 104
    KEY_EXISTS = 105
    ROOT_READ_ONLY = 107
    DIRECTORY_NOT_EMPTY = 108
    HISTORY_CLEARED = 401

    def __init__(self, code: int, cause: str, index: int) -> None:
        super().__init__(code, cause, index)
        self.code = code
        self.cause = cause
        self.index = index


class CompactedError(KeyspaceError):
    """The revision asked for is older than what compaction kept; `.floor` is the oldest still readable."""

    def __init__(self, floor: int) -> None:
        super().__init__(floor)
        self.floor = floor


class FutureRevisionError(KeyspaceError):
    """The revision asked for has not been reached."""


class KeyNotFoundError(KeyspaceError):
    """`ignore_value` or `ignore_lease` on a key that is not there."""


class LeaseNotFoundError(KeyspaceError):
    """No lease of that id."""


class LeaseExistsError(KeyspaceError):
    """The id of a new lease is taken."""


class ReservedKeyError(KeyspaceError):
    """A key of the system records, which only their own operations may write."""


class LimitError(KeyspaceError):
    """A key, lease or transaction beyond what the keyspace can hold; the text says which limit."""


class DuplicateKeyError(KeyspaceError):
    """A transaction writes one key twice, or deletes a key that it puts."""


class StaleAccessError(KeyspaceError):
    """The access records changed between the decision to allow a command and its turn. Decide again, then repeat it."""


class TokenFault(StrEnum):
    """Why a token is of no use."""

    UNKNOWN = "this cluster knows no such token: it was altered, it is another cluster's, or it ended long ago"
    REVOKED = "the token was revoked"
    EXPIRED = "the token has expired"
    USED_UP = "the token is used up: as many hosts as it was made for have joined by it"
    OTHER_ROLE = "the token was made for another role"
    EXISTS = "a token of that id exists already"


class TokenError(KeyspaceError):
    """A token that cannot be made, used or revoked so."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class HostTakenError(KeyspaceError):
    """A machine id belongs to another key."""

    def __init__(self, machine: str) -> None:
        super().__init__(
            f"the machine id {machine} belongs to another host. If that one is gone for good, or got a new key, say so "
            f"first: corenode machine forget {machine}"
        )


class Why(StrEnum):
    """Why users, roles and the switch are left as they are. `{}` is for the names of the AccessError, in order."""

    ALREADY_ENABLED = "already enabled"
    ALREADY_DISABLED = "already disabled"
    NO_ROOT = "no root user available; create one first"
    USER_EXISTS = "user {} already exists"
    NO_USER = "user {} does not exist"
    ROOT_USER = "the root user cannot be deleted while access is restricted"
    ROOT_KEEPS_ROOT = "role root cannot be taken from user root"
    USER_UNCHANGED = "nothing to change in user {}"
    ROLE_GRANTED = "role {} is granted to user {} already"
    ROLE_NOT_GRANTED = "role {} is not granted to user {}"
    ROLE_EXISTS = "role {} already exists"
    NO_ROLE = "role {} does not exist"
    ROOT_ROLE = "role {} cannot be changed"
    ROLE_UNCHANGED = "nothing to change in role {}"
    PERMISSION_GRANTED = "the permission to {} {} is granted already"
    NO_NAME = "a name must not be empty"


class AccessError(KeyspaceError):
    """A refusal to change users, roles or the switch."""

    def __init__(self, why: Why, *names: str) -> None:
        super().__init__(why.format(*names))
        self.why = why
        self.names = names
