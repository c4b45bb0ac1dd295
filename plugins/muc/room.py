"""A room: the rules of XEP-0045 without I/O.

Requests go in, a `Plan` comes out: what to store, and what to change and send once it is stored. Reading the
store, waiting and sending is the service's part (`plugins.muc`).
"""

from __future__ import annotations

from .owner import Ownership


class Room(Ownership):
    """Made by `Room.created` or from a stored record.

    `enter`, `present`, `leave` (entering.py); `say`, `change_subject`, `whisper`, `relayed` (speech.py); `tell_room`
    (invitations.py); `administer`, `listed` (admin.py); `configure`, `destroyed`, `register` (owner.py).
    """
