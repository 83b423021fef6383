"""What rank 0 and the others have to know of each other, and do beside the command."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from .files import Manifest, Unfit
from .log import say
from .peers import ERRORS, Peer
from .source import LOOK_SECONDS, Source, new_lineage
from .store import Book, Store

ASK_SECONDS = 0.2
TELL_SECONDS = 0.5
SILENT_SECONDS = 3.0  # after which a rank that tells each half second counts as gone
DOOMED_SECONDS = 5.0  # that a rank which failed waits for rank 0 to fail too, and not to meet the one that is about to
LINGER_SECONDS = 10.0  # for the second copy, after the end
KEEPER = 1

Age = tuple[str, int]


def age_of(value: Any) -> Age:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return value[0], value[1]
    return "", 0


def size_words(manifest: Manifest) -> str:
    size = sum(entry.size for entry in manifest.files.values())
    return f"{len(manifest.files)} files, {size / 1e6:.1f} MB"


class Told:
    """What a rank has told last."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.time = time.monotonic()
        self.age = age_of(asked.get("best"))
        self.life, self.attempt = (str(asked.get(name, ""))[:64] for name in ("life", "attempt"))
        self.running = asked.get("running") is True

    @property
    def silent(self) -> bool:
        return time.monotonic() > self.time + SILENT_SECONDS


class First:
    """Rank 0: what it has saved is the truth, and what the others kept of it if it is lost here."""

    def __init__(self, store: Store, peers: list[Peer], shared: bool, patience: float) -> None:
        self.store, self.peers, self.shared, self.patience = store, peers, shared, patience
        self.source = Source(store)
        self.attempt, self.phase = secrets.token_hex(8), "gathering"
        store.mark(self.attempt)
        self.told: dict[int, Told] = {}
        self.ran: dict[int, str] = {}  # the life in which a rank took part in this attempt
        self.began: tuple[str, int] = ("", 0)
        self.over = threading.Event()

    # --- what it answers --------------------------------------------------------------------------------

    def state(self, asked: dict[str, Any]) -> dict[str, Any]:
        rank = asked.get("rank")
        if type(rank) is int and 0 < rank <= len(self.peers):
            told = self.told[rank] = Told(asked)
            if told.running and told.attempt == self.attempt:
                self.ran.setdefault(rank, told.life)
            doomed = self.ran.get(rank, told.life) != told.life
        else:
            doomed = False
        answer = {"attempt": self.attempt, "phase": self.phase, "began": self.began, "doomed": doomed}
        return {**answer, "age": self.store.book.manifest.age}

    def manifest(self) -> Manifest:
        if self.phase == "gathering":
            raise Unfit("rank 0 does not know yet what is the newest")
        return self.source.manifest

    def open_content(self, sha256: str) -> IO[bytes]:
        return self.source.open_content(sha256)

    # --- before the start -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Unfit where it cannot begin: nobody else could either."""
        # What somebody has put here by hand, or a backup: it counts, whatever the others have.
        by_hand = self.store.first and not self.store.is_empty()
        self.wait("has not answered", lambda told: True)
        if by_hand:
            self.store.write_book(Book(True, Manifest(new_lineage())))
        else:
            self.bring_newest()
        if self.shared:
            try:
                self.source.refresh(settled=False)
            except Unfit as error:
                say(f"the other ranks do not get what rank 0 has saved: {error}")
            self.mend()
        manifest = self.source.manifest
        self.began, self.phase = (manifest.lineage, manifest.saves), "ready"
        if self.shared:
            self.wait("is not ready", lambda told: told.running or told.attempt == self.attempt)
        self.phase = "go"
        threading.Thread(target=self.watch, daemon=True).start()

    def wait(self, what: str, enough: Callable[[Told], bool]) -> None:
        """For every rank, and no longer than `patience` for one that says nothing."""
        heard = time.monotonic()
        while True:
            left = [peer for peer in self.peers if peer.rank not in self.told or not enough(self.told[peer.rank])]
            if not left:
                return
            if any(peer.rank in self.told and not self.told[peer.rank].silent for peer in left):
                heard = time.monotonic()  # it is fetching
            if time.monotonic() > heard + self.patience:
                names = ", ".join(f"rank {peer.rank} ({peer.host})" for peer in left)
                raise Unfit(
                    f"{names} {what} in {self.patience:g} s, and what is the newest snapshot is known once all have answered. "
                    "Do all ranks run, and reach node0 on the launcher's port?"
                )
            time.sleep(ASK_SECONDS / 4)

    def bring_newest(self) -> None:
        """In place of what lies here, if another host, or the copy on this one, has something newer."""
        own = self.store.book.manifest.age if self.store.book.source else ("", 0)
        here = self.store.best().age
        offers = [(told.age, rank) for rank, told in self.told.items()] + [(here, 0)]
        failed = ""
        for age, rank in sorted(offers, key=lambda offer: (offer[0], -offer[1]), reverse=True):
            if age <= own or not age[1]:
                break
            try:
                self.bring(rank, age)
                return
            except ERRORS as error:
                failed = f"rank {rank} has the newest snapshot, and it cannot be had: {error}"
                say(failed)
        if failed and not own[1]:
            raise Unfit(f"{failed}. Rank 0 has none, and does not begin from nothing while there is one")
        if not self.store.book.source or not own[0]:
            self.store.write_book(Book(True, Manifest(new_lineage())))

    def bring(self, rank: int, age: Age) -> None:
        if rank:
            peer = self.peers[rank - 1]
            manifest = peer.manifest()
            if manifest.age < age:
                raise Unfit("it no longer has it")
            peer.fetch(self.store, manifest)
        else:
            manifest = self.store.best()
        before = self.store.book
        if before.source and before.manifest.lineage != manifest.lineage:
            self.store.set_aside()
            before = Book()
        self.store.write_book(Book(False, before.manifest, before.seen))
        self.store.place(manifest, source=True)
        say(f"rank 0 goes on from what rank {rank} kept: save {manifest.counter}, {size_words(manifest)}")

    def mend(self) -> None:
        """A file that was cut off here while it was written may be whole in the second copy, as it was before."""
        manifest = self.source.manifest
        if all(map(self.store.has, manifest.files)):
            return
        for peer in self.peers:
            try:
                peer.fetch(self.store, manifest)
            except ERRORS:
                continue
        lost = {entry.sha256 for entry in self.store.missing(manifest)}
        names = [name for name in manifest.files if not self.store.has(name)]
        files = {name: entry for name, entry in manifest.files.items() if entry.sha256 not in lost}
        self.store.place(Manifest(manifest.lineage, manifest.counter + 1, manifest.saves + 1, files), source=True)
        for name in names:
            whole = name in files
            say(
                f"{name} was cut off while it was written: "
                + ("the one before is back" if whole else "there is no other")
            )

    # --- while it runs, and at its end -------------------------------------------------------------------

    def watch(self) -> None:
        said = ""
        while not self.over.wait(LOOK_SECONDS):
            try:
                self.source.refresh(settled=True)
                said = ""
            except ERRORS as error:
                if str(error) != said:
                    said = str(error)
                    say(f"there is no newer second copy: {said}")

    def end(self, stopped: bool) -> None:
        """Until the second copy has what was saved last; not for long."""
        until = time.monotonic() + LINGER_SECONDS
        self.over.set()
        last_look = threading.Thread(target=self.look_again, daemon=True)
        last_look.start()
        last_look.join(LINGER_SECONDS)
        self.phase = "ended"
        while time.monotonic() < until and self.source.manifest.files:
            keeper = self.told.get(KEEPER)
            if keeper is None or keeper.silent or keeper.age == self.source.manifest.age:
                break
            time.sleep(ASK_SECONDS / 4)
        time.sleep(TELL_SECONDS if self.told else 0)  # the others hear that it is the end

    def look_again(self) -> None:
        with suppress(*ERRORS):
            self.source.refresh(settled=False)


class Follower:
    """Another rank: it takes what rank 0 has, and rank 1 keeps a second copy."""

    def __init__(self, store: Store, rank: int, first: Peer, shared: bool, patience: float) -> None:
        self.store, self.rank, self.first, self.shared, self.patience = store, rank, first, shared, patience
        self.best = store.best()
        self.life, self.attempt, self.running = secrets.token_hex(8), "", False
        self.began: list[Any] = []
        self.answer: dict[str, Any] = {}
        self.answered = 0.0
        self.over = threading.Event()
        self.end_child: Callable[[], None] = lambda: None
        self.superseded, self.lock = False, threading.Lock()
        threading.Thread(target=self.tell, daemon=True).start()
        if rank == KEEPER:
            threading.Thread(target=self.keep, daemon=True).start()

    # --- what it answers --------------------------------------------------------------------------------

    def state(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"best": self.best.age}

    def manifest(self) -> Manifest:
        return self.best

    def open_content(self, sha256: str) -> IO[bytes]:
        return self.store.open_content(sha256)

    # --- what it tells ----------------------------------------------------------------------------------

    def tell(self) -> None:
        while not self.over.wait(TELL_SECONDS if self.running else ASK_SECONDS):
            try:
                told = {
                    "best": list(self.best.age),
                    "life": self.life,
                    "attempt": self.attempt,
                    "running": self.running,
                }
                self.answer = self.first.state(rank=self.rank, **told)
                self.answered = time.monotonic()
            except ERRORS:
                continue
            self.notice()

    def notice(self) -> None:
        """Rank 0 has begun anew, from something else than this rank has begun from: they would never agree."""
        anew = self.answer.get("attempt") != self.attempt and self.answer.get("phase") in ("ready", "go")
        if self.shared and self.running and self.attempt and anew and self.answer.get("began") != self.began:
            say(f"rank 0 has begun anew from another save: rank {self.rank} does too")
            self.superseded, self.attempt = True, ""
            self.end_child()

    # --- before the start -------------------------------------------------------------------------------

    def begin(self) -> None:
        self.superseded, self.attempt, self.running = False, "", False
        if self.shared:
            self.place()
        self.running = True

    def place(self) -> None:
        began = heard = time.monotonic()
        failed = ""
        while True:
            answer = self.answer
            heard = max(heard, self.answered)
            if answer.get("phase") == "nothing":
                return
            doomed = answer.get("doomed") and time.monotonic() < began + DOOMED_SECONDS
            if answer.get("phase") in ("ready", "go") and not doomed:
                if self.attempt != answer.get("attempt"):
                    try:
                        self.take(answer)
                    except ERRORS as error:
                        failed = f": {error}"
                if self.attempt and answer.get("phase") == "go" and answer.get("attempt") == self.attempt:
                    return
            if time.monotonic() > heard + self.patience:
                raise Unfit(f"rank 0 ({self.first.host}) has not answered in {self.patience:g} s{failed}")
            time.sleep(ASK_SECONDS / 4)

    def take(self, answer: dict[str, Any]) -> None:
        with self.lock:
            self._take(answer)

    def _take(self, answer: dict[str, Any]) -> None:
        self.began, attempt = list(answer["began"]), str(answer["attempt"])
        if not self.is_first_ones(answer):
            self.bring()
        self.attempt = attempt

    def is_first_ones(self, answer: dict[str, Any]) -> bool:
        """Whether both have the same directory, as on a network file system: then all is there, and a second copy would be none."""
        return bool(self.store.marked() == answer.get("attempt"))

    def bring(self) -> None:
        manifest = self.first.manifest()
        missing = sum(entry.size for entry in self.store.missing(manifest))
        self.first.fetch(self.store, manifest)
        if self.rank == KEEPER and manifest.files and all(c.manifest.age != manifest.age for c in self.store.copies()):
            self.store.keep(manifest)
        self.store.place(manifest, source=False)
        self.best = self.store.best()
        if missing:
            say(f"rank {self.rank} has what rank 0 saved: {size_words(manifest)}, {missing / 1e6:.1f} MB of it fetched")

    # --- while it runs, and at its end -------------------------------------------------------------------

    def keep(self) -> None:
        said = ""
        while not self.over.wait(TELL_SECONDS):
            age = age_of(self.answer.get("age"))
            placing = self.shared and not self.running
            if self.is_first_ones(self.answer):
                self.best = self.store.best()
                continue
            if placing or self.answer.get("phase") not in ("go", "ended") or not age[1] or age == self.best.age:
                continue
            try:
                with self.lock:
                    manifest = self.first.manifest()
                    if manifest.files:
                        self.first.fetch(self.store, manifest)
                        self.store.keep(manifest)
                        self.best = self.store.best()
                said = ""
            except ERRORS as error:
                if isinstance(error, OSError) and error.errno == 28:
                    self.store.clear_incoming()
                    if not said:
                        said = "no space"
                        say(f"rank {self.rank} has no room for the second copy: it stays as it was")

    def end(self, stopped: bool) -> None:
        """Until the second copy has what rank 0 saved last; not for long."""
        if self.rank != KEEPER:
            return
        until = time.monotonic() + LINGER_SECONDS * (1 if stopped else 6)
        while time.monotonic() < until and time.monotonic() < self.answered + SILENT_SECONDS:
            if self.answer.get("phase") == "ended" and age_of(self.answer.get("age")) == self.best.age:
                time.sleep(TELL_SECONDS)  # rank 0 hears it
                return
            time.sleep(ASK_SECONDS / 4)


class Bystander:
    """A rank that cannot write where results lie: it has nothing, and nobody waits for it."""

    def __init__(self, rank: int, first: Peer) -> None:
        self.rank, self.first = rank, first

    def state(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"phase": "nothing"}

    def manifest(self) -> Manifest:
        raise Unfit("there is nothing")

    def open_content(self, sha256: str) -> IO[bytes]:
        raise FileNotFoundError(sha256)

    def begin(self) -> None:
        if self.rank:
            threading.Thread(target=self.tell, daemon=True).start()

    def tell(self) -> None:
        while True:
            with suppress(*ERRORS):
                self.first.state(rank=self.rank, running=True)
            time.sleep(TELL_SECONDS)

    def end(self, stopped: bool) -> None:
        pass
