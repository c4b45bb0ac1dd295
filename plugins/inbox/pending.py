"""What the store does not have yet of one account: a note of `Storage.soon`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xmppd.errors import ResourceConstraint
from xmppd.plugin import Account
from xmppd.storage.api import Write

from .model import LONGEST_ID, LONGEST_RUN, NEW, Conversation, Step, Summary, What

if TYPE_CHECKING:
    from .counting import Count
    from .ledger import Ledger

OWNER_BYTES = 512 << 10
"""Of one account. Where messages come faster than they are counted, the log tells."""
STEP_BYTES = 120
RECORD_BYTES = 400
"""What a step, and a conversation, are taken to need beside their texts."""
RUN_BYTES = STEP_BYTES + LONGEST_ID + 80 + 8 * LONGEST_RUN
"""What a step needs that may come to hold several messages: it is held at once."""


class Pending:
    """Steps that are not counted, and conversations that are counted and not stored. The bytes that were held for a
    step are held until what came of it is stored."""

    def __init__(self, ledger: Ledger, account: Account) -> None:
        self.ledger = ledger
        self.account = account
        self.gone = False
        """The account was deleted."""
        self.refusals = 0
        """So often what was counted had to be given up."""
        self.steps: dict[str, list[Step]] = {}
        self.size = 0
        """Bytes of the steps."""
        self.counted: dict[str, Conversation] = {}
        """`NEW`: to be deleted."""
        self.summary: Summary | None = None
        """With all that was counted, stored or not."""
        self._held = 0
        """Bytes of what was counted."""
        self._flying: dict[str, Conversation] = {}
        self._flying_held = 0
        self._written: Summary | None = None
        self._working = 0

    # ---- steps

    def add(self, peer: str, step: Step) -> bool:
        """Whether all was remembered; else the log must be asked."""
        steps = self.steps.get(peer)
        if steps is None:
            size = _weight(step) + RECORD_BYTES + len(peer)
        elif steps[-1].absorb(step):
            return True
        else:
            size = _weight(step)
        whole = True
        if self.size + size > OWNER_BYTES:
            self._thin()
            whole, steps = False, self.steps.get(peer)
        try:
            self.ledger.soon.hold(size)
        except ResourceConstraint:
            self._thin()
            return False
        self.size += size
        if steps is None:
            self.steps[peer] = [step]
        else:
            steps.append(step)
        return whole

    def _thin(self) -> None:
        """Forget what the log tells. Of what only the client has said (markers), later ones make earlier ones moot: a
        flood stays bounded."""
        left: dict[str, list[Step]] = {}
        size = 0
        for peer, steps in reversed(self.steps.items()):
            kept = 0
            for step in reversed(steps):
                if in_log(step):
                    continue
                weight = _weight(step) + (0 if kept else RECORD_BYTES + len(peer))
                if size + weight > OWNER_BYTES // 2:
                    break
                left.setdefault(peer, []).append(step)
                kept += 1
                size += weight
        self.steps = {peer: steps[::-1] for peer, steps in reversed(left.items())}
        self.ledger.soon.release(self.size - size)
        self.size = size

    def take(self) -> tuple[dict[str, list[Step]], int]:
        """All, to be counted, and the bytes that are held for them."""
        taken, self.steps, self.size = (self.steps, self.size), {}, 0
        return taken

    def put_back(self, steps: dict[str, list[Step]], size: int) -> None:
        """They could not be counted."""
        if self.gone:
            self.ledger.soon.release(size)
            return
        for peer, later in self.steps.items():
            steps.setdefault(peer, []).extend(later)
        self.steps, self.size = steps, self.size + size
        if steps:
            self.ledger.soon.note(self, self)

    # ---- what came of them

    @property
    def unwritten(self) -> bool:
        """Whether there is something that is not on its way to the store."""
        return bool(self.counted) or self.summary is not self._written

    def unstored(self) -> dict[str, Conversation]:
        return {**self._flying, **self.counted} if self._flying else dict(self.counted)

    def keep(self, count: Count, summary: Summary, size: int) -> None:
        """`size`: bytes that are held for the steps."""
        self.counted.update((peer, each) for peer, each in count.changed.items() if each != count.before[peer])
        self.summary = summary
        found = max(0, len(count.changed) * RECORD_BYTES - size)  # in the log
        self.ledger.soon.hold(found, anyway=True)
        self._held += size + found

    def right(self, gone: Iterable[str], summary: Summary) -> None:
        """Conversations that are not remembered any longer, and the sums without them."""
        self.counted.update((peer, NEW) for peer in gone)
        self.summary = summary

    def drop(self) -> None:
        """The account is gone, and what it has with it."""
        self.gone = True
        self.ledger.soon.release(self.size + self._held)
        self.steps, self.size, self.counted, self._held, self.summary, self._written = {}, 0, {}, 0, None, None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """It stays what is known of the account."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._rest()

    def _rest(self) -> None:
        if self._working or self.steps or self.counted or self._flying or self.summary is not None:
            return
        if self.ledger.pending.get(self.account.bare) is self:
            del self.ledger.pending[self.account.bare]

    # ---- storage.api.Note

    def writes(self) -> list[Write]:
        """The conversations, and behind them the sums with the position up to which they are counted."""
        flying, self._flying, self.counted = self.counted, self.counted, {}
        self._flying_held, self._held = self._held, 0
        before, self._written = self._written, self.summary
        if self.summary is None or self.gone or not self.account.alive or (not flying and self.summary is before):
            return []
        ledger, owner = self.ledger, self.account.bare
        map = ledger.conversations
        writes: list[Write] = [
            map.delete(owner, peer) if each is NEW else map.put(owner, peer, each) for peer, each in flying.items()
        ]
        writes.append(ledger.summaries.put(owner, "", self.summary))
        return writes

    def stored(self) -> None:
        self._landed()
        if self.summary is self._written:
            self.summary = None  # the store has it
        self._written = None
        self._rest()

    def failed(self, again: bool) -> None:
        if again:
            self.counted = {**self._flying, **self.counted}
            self._held += self._flying_held
            self._flying, self._flying_held, self._written = {}, 0, None
            return
        self._landed()
        self._written = None
        self.refusals += 1
        if not self.gone:
            self.ledger.soon.release(self._held)
            self.counted, self._held, self.summary = {}, 0, None
            self.ledger.count_anew(self.account.bare)
        self._rest()

    def _landed(self) -> None:
        self.ledger.soon.release(self._flying_held)
        self._flying, self._flying_held = {}, 0


def _weight(step: Step) -> int:
    """Bytes."""
    return RUN_BYTES if step.what is What.CAME else STEP_BYTES + len(step.text)


def in_log(step: Step) -> bool:
    """Catching up finds it again."""
    return bool(step.id) and step.what is not What.READ
