"""The caller of a request, identified by the ARN that signed the request. Pure."""


def name_of(arn: str) -> str:
    """Return the part of an ARN that names the caller: ann for `user/ann`, Operators/ann for a session of the
    role Operators."""
    return arn.rpartition(":")[2].partition("/")[2] or arn.rpartition(":")[2]


def caller_of(arn: str) -> str:
    """Return the ARN that stands for the caller: the ARN itself, or for a session of a role the ARN without the
    session's name. The session's name is dropped because a service that runs in several places may repeat a request
    from a different session."""
    role, session = arn.rpartition("/")[0], arn.rpartition(":")[2]
    return role if session.startswith("assumed-role/") and session.count("/") > 1 else arn


def is_of(name: str, caller: str) -> bool:
    """Whether a name returned by name_of belongs to the caller: the caller's own name, or a session of the caller's
    role."""
    own = name_of(caller)
    return name == own or name.startswith(f"{own}/")
