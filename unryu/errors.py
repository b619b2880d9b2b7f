"""The few errors a person can see: a status, a code and a sentence. Each API renders them in its own envelope.

Nothing is imported here: the supervisor, which lives longest and reads no settings itself, knows them too.
"""


class Fault(Exception):
    """What went wrong, in the words of whom it concerns. `code` is the machine-readable name (`NetworkNotFound`)."""

    status = 500
    code = "InternalError"

    def __init__(self, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code or type(self).code


class BadRequest(Fault):
    status, code = 400, "BadRequest"


class Unauthorized(Fault):
    status, code = 401, "Unauthorized"


class Forbidden(Fault):
    status, code = 403, "Forbidden"


class NotFound(Fault):
    status, code = 404, "NotFound"


class MethodNotAllowed(Fault):
    status, code = 405, "MethodNotAllowed"


class Conflict(Fault):
    status, code = 409, "Conflict"


class PreconditionFailed(Fault):
    status, code = 412, "PreconditionFailed"


class TooLarge(Fault):
    status, code = 413, "RequestEntityTooLarge"


class UnsupportedType(Fault):
    status, code = 415, "UnsupportedMediaType"


class Unavailable(Fault):
    status, code = 503, "ServiceUnavailable"


class Deadlock(Unavailable):
    """Two transactions waited for each other and the database ended this one: nothing is changed, and it may begin again."""


class WrongSettings(Exception):
    """A sentence: what is wrong in a section, and where it is said."""

    def __init__(self, sentence: str, unsaid: bool = False) -> None:
        super().__init__(sentence)
        self.unsaid = unsaid
        """That something was not said at all is the only fault."""
