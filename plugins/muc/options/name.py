"""muc#roomconfig_roomname."""

from .base import Text


class Name(Text):
    var = "muc#roomconfig_roomname"
    label = "Name"
    length = 200
