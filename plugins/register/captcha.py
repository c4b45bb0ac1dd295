"""XEP-0158 section 4: a question for people before a stranger's account is made: letters in a picture, or a question of
the operator's."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from dataclasses import dataclass
from secrets import choice, token_hex
from typing import Final

from xmppd.errors import LocalError, NotAcceptable
from xmppd.plugin import E, Element
from xmppd.xep.forms import Field, Submitted

ALPHABET: Final = "abcdefhkmnprtwxy34678"
"""What nobody takes for another letter."""
LENGTH: Final = 6
WIDTH, HEIGHT = 240, 80
BOB_NS: Final = "urn:xmpp:bob"
MEDIA_NS: Final = "urn:xmpp:media-element"
WRONG: Final = "the answer to the question was wrong, or came too late: ask for another one"
"""Whatever was wrong with it."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What was asked, once, on one stream. `until`: monotonic seconds. `answers`: by the name of the field."""

    id: str
    until: float
    answers: dict[str, str]


def drawn(code: str) -> bytes:
    """A PNG of the letters. Takes some ten milliseconds: beside the loop."""
    from captcha.image import ImageCaptcha  # it loads an image library, which most servers never need

    return ImageCaptcha(width=WIDTH, height=HEIGHT).generate(code, format="png").getvalue()


def new_code() -> str:
    return "".join(choice(ALPHABET) for _ in range(LENGTH))


def read_question(text: str) -> tuple[str, str]:
    """Question and answer of an option. Raises LocalError."""
    question, mark, answer = text.rpartition("=")
    if not (question.strip() and mark and answer.strip()):
        raise LocalError(f"plugin register: captcha_questions: {text!r} is not like 'Which colour is snow? = white'")
    return question.strip(), answer.strip()


def make(until: float, code: str, questions: tuple[str, ...]) -> tuple[Challenge, list[tuple[str, str]]]:
    """A challenge, and the (field, label) pairs of which one is to be answered. `code`: in the picture, "" for none."""
    asked, answers = [], {}
    if code:
        asked.append(("ocr", "Enter the text you see"))
        answers["ocr"] = code
    if questions:
        question, answer = read_question(choice(questions))
        asked.append(("qa", f"Or answer: {question}" if asked else question))  # one of the two is enough
        answers["qa"] = answer
    return Challenge(token_hex(8), until, answers), asked


def elements(asked: list[tuple[str, str]], picture: bytes) -> tuple[list[Element], Element | None]:
    """The fields of the form, and the picture (XEP-0231), to which its field points (XEP-0221)."""
    fields, data = [], None
    for var, label in asked:
        field = Field(var, "text-single", label, required=len(asked) == 1).element()
        if var == "ocr":
            # By SHA-1, which is what clients know; it protects nothing.
            cid = f"sha1+{hashlib.sha1(picture, usedforsecurity=False).hexdigest()}@bob.xmpp.org"
            size = {"width": str(WIDTH), "height": str(HEIGHT)}
            field.append(E("media", MEDIA_NS, size, E("uri", MEDIA_NS, {"type": "image/png"}, f"cid:{cid}")))
            attributes = {"cid": cid, "type": "image/png", "max-age": "0"}
            data = E("data", BOB_NS, attributes, b64encode(picture).decode())
        fields.append(field)
    return fields, data


def check(challenge: Challenge | None, form: Submitted | None, now: float) -> None:
    """Raises NotAcceptable; the challenge is over in any case."""
    if challenge is not None and form is not None and now < challenge.until:
        same = hmac.compare_digest((form.text("challenge") or "").encode(), challenge.id.encode())
        right = [_is_right(form.text(var), answer) for var, answer in challenge.answers.items()]
        if same and any(right):
            return
    raise NotAcceptable(WRONG, type="cancel")


def _is_right(given: str | None, answer: str) -> bool:
    text = " ".join((given or "").split()).casefold()
    return hmac.compare_digest(text.encode(), " ".join(answer.split()).casefold().encode())
