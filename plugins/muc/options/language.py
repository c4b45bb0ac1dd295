"""muc#roomconfig_lang, shown as muc#roominfo_lang."""

from __future__ import annotations

import re

from xmppd.errors import NotAcceptable
from xmppd.xep.forms import Field, Submitted

from ..model import Value
from .base import OptionRoom, Text

_tag = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*", re.ASCII).fullmatch


class Language(Text):
    var = "muc#roomconfig_lang"
    label = "Language of the discussion"
    length = 35

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        text = super().read(form, room)
        if text and not _tag(str(text)):
            raise NotAcceptable("not a language tag (BCP 47)")
        return text

    def info(self, room: OptionRoom) -> Field | None:
        language = self.of(room)
        return Field("muc#roominfo_lang", "text-single", self.label, (language,)) if language else None
