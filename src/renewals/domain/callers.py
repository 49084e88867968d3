"""Who asks, by the ARN that signs the request. Pure."""


def name_of(arn: str) -> str:
    """Who an ARN says it is: what follows the kind in it, as ann, or Operators/ann for a role's session."""
    return arn.rpartition(":")[2].partition("/")[2] or arn.rpartition(":")[2]


def caller_of(arn: str) -> str:
    """Whose requests an ARN signs: a user, or a role whatever its session is called, since a service that runs in many
    places repeats its request from another one."""
    role, session = arn.rpartition("/")[0], arn.rpartition(":")[2]
    return role if session.startswith("assumed-role/") and session.count("/") > 1 else arn


def is_of(name: str, caller: str) -> bool:
    """Whether a name, as name_of gives it, is this caller's."""
    own = name_of(caller)
    return name == own or name.startswith(f"{own}/")
