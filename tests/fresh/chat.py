"""Two people meet and talk over a running server: `python -m tests.fresh.chat CERTIFICATE [PORT]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.interop.people import Person

LINES = ("But, soft! what light", "through yonder window breaks?", "O Romeo, Romeo!")


async def chat(certificate: Path, port: int) -> None:
    """Raises AssertionError or TimeoutError when a line does not arrive."""
    romeo = Person("romeo@localhost", certificate)
    juliet = Person("juliet@localhost", certificate)
    for person in (romeo, juliet):
        await person.sign_in(port)
        await person.appear()
    for line in LINES:
        romeo.say("juliet@localhost", line)
        assert (await juliet.hear())["body"] == line
        juliet.say("romeo@localhost", line)
        assert (await romeo.hear())["body"] == line
    for person in (romeo, juliet):
        await person.disconnect()


if __name__ == "__main__":
    asyncio.run(chat(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5222))
