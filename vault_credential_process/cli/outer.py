"""What ``exec`` puts into a program's environment so that a command of ours there finds the user's own files again.

Nothing is imported here: ``get`` looks before anything else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

RUNS = "VAULT_CREDENTIAL_PROCESS_EXEC"
"""Variable that names the profile, or the role, that a program runs under."""

CONFIG, SHARED = "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"
_PREFIX = "VAULT_CREDENTIAL_PROCESS_OUTER_"
_KEPT = {CONFIG: f"{_PREFIX}CONFIG", SHARED: f"{_PREFIX}CREDENTIALS"}
"""Where it is kept which files the user has."""
_PROFILE = f"{_PREFIX}PROFILE"


def marks(environ: Mapping[str, str], profile: str | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield the variables that tell, in a program's environment, what it runs as and which files the user has."""
    yield RUNS, name
    if profile is not None:
        yield _PROFILE, profile
    for variable, kept in _KEPT.items():
        if variable in environ:
            yield kept, environ[variable]


def leave(environ: MutableMapping[str, str]) -> str | None:
    """Take the user's files back, where we run under ``exec`` ourselves; return what we run as there.

    In the files that were made there, the profile in use has no setting of ours. It goes on being the one in use.
    """
    outer = environ.pop(RUNS, None)
    profile = environ.pop(_PROFILE, None)
    if outer is None:
        return None
    for variable, kept in _KEPT.items():
        path = environ.pop(kept, None)
        if path is None:
            environ.pop(variable, None)
        else:
            environ[variable] = path
    if profile is not None and not (environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")):
        environ["AWS_PROFILE"] = profile
    return outer
