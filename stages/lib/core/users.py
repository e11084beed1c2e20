"""Users who want some of a network's classes, as commands are told of them: JSON, user -> names of classes."""

from stages.lib.core.commands import json_object
from stages.lib.core.errors import InputError

EVERYONE = "everyone"  # whose network is for all classes


def read_users(text: str, known: tuple[str, ...]) -> dict[str, list[int]]:
    """User -> ids of the classes wanted. Raises InputError where a class is none of the network's, or none is wanted."""
    users = json_object(text, "--users")
    for user, classes in users.items():
        if unknown := [c for c in classes if c not in known]:
            raise InputError(
                f"the user {user} wants {unknown[0]!r}, which the network does not know; choose from {', '.join(known)}"
            )
        if not classes:
            raise InputError(f"the user {user} wants no class; name one or more")
    return {user: [known.index(c) for c in classes] for user, classes in users.items()}
