"""The host's event loop: one thread that owns all sockets and decides; it never waits for anyone.

The launcher's outcomes come back as letters, are written into the arenas and answered; sockets are
read; then, if the device has room, the batcher cuts the next batch. There is no polling: the loop
sleeps until a descriptor is ready (the mailbox has one), the batcher's wait is over, or a tick is
due (signs of life, watchdog). Everything that happens in a turn happens at one time, looked up
once.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from carpool.errors import CarpoolError, ProtocolError
from carpool.host.admission import Admission, ArenaMapped, Refused, welcome_ready
from carpool.host.backends.base import Backend, LoadReport
from carpool.host.batcher import Batcher
from carpool.host.config import HostConfig
from carpool.host.dispatcher import Dispatcher, Hung
from carpool.host.launcher import Launcher, Loaded, LoadFailed, Outcome, ThreadDied
from carpool.host.mailbox import Mailbox
from carpool.host.messages import (
    Alive,
    Hello,
    Message,
    Offer,
    RefusalCode,
    Stats,
    StatsRequest,
    Submit,
    Welcome,
)
from carpool.host.model_files import find_model
from carpool.host.poller import Poller
from carpool.host.session import Gone, Session

_LOG = logging.getLogger("carpool.host")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this host is: the supervisor's life, and which of its children."""

    host_id: str
    generation: int


class Idle(Exception):
    """No client has asked anything for as long as the configuration allows."""


class Server:
    """Serves clients from a listening socket until something fatal is raised."""

    def __init__(
        self,
        listener: socket.socket,
        backend: Backend,
        config: HostConfig,
        identity: Identity,
        *,
        on_loaded: Callable[[LoadReport], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Take everything; nothing runs before `run`.

        Args:
            listener: listening SOCK_SEQPACKET socket; connections may wait in it already.
            backend: not loaded.
            config: of the host.
            identity: of the host.
            on_loaded: called once, when clients are about to be told READY.
            on_tick: called regularly, as long as the event loop turns.
        """
        self._listener = listener
        self._backend = backend
        self._config = config
        self._identity = identity
        self._on_loaded = on_loaded
        self._on_tick = on_tick
        self._poller = Poller()
        self._mailbox = Mailbox()
        self._launcher = Launcher(backend, self._mailbox.post)
        self._admission = Admission(config, backend, self._mailbox.post)
        self._sessions: dict[int, Session] = {}
        batcher = Batcher(backend.max_batch, depth=backend.depth, lanes=backend.lanes)
        self._dispatcher = Dispatcher(config, self._launcher, batcher, self._sessions, self._forget)
        self._next_number = 0
        self._model: dict[str, Any] = {}
        self._loaded = False
        # Twice as often as the shorter of what a tick is for, so that neither is late by more.
        self._idle_seconds = config.idle_seconds or math.inf
        seconds = (config.alive_seconds, config.watchdog_seconds, self._idle_seconds)
        self._tick_seconds = min(*seconds, config.load_seconds) / 2
        self._tick_at = self._busy_at = self._begun_at = time.monotonic()

    def run(self) -> NoReturn:
        """Load and serve.

        Raises:
            Idle: nothing is asked of it any more.
            CarpoolError: the model cannot be loaded; clients that wait were told why if that is
                permanent.
            DeviceLost: the device is unusable.
            Hung: the device, or the loading of the model, does not come back.
            Exception: a bug, or what the handler's load raised.
        """
        self._listener.setblocking(False)
        self._poller.watch(self._listener, self._accept)
        self._poller.watch(self._mailbox, lambda _now: None, edge=True)  # it only ends the sleep
        self._launcher.start(partial(find_model, self._config.model))
        wait = 0.0
        while True:
            ready = self._poller.wait(wait if self._mailbox.may_sleep() else 0.0)
            now = time.monotonic()
            self._read_mail(now)
            for react in ready:
                react(now)
            if now >= self._tick_at:
                self._tick(now)
            hold = self._dispatcher.dispatch(now) if self._loaded else None
            wait = max(0.0, self._tick_at - now)
            if hold is not None and hold < wait:
                wait = hold

    def _accept(self, _now: float) -> None:
        try:
            connection, _address = self._listener.accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                return  # it gave up while it waited
            # The listener would stay readable: look again at the next tick.
            _LOG.warning("cannot accept a client: %s", error)
            self._poller.forget(self._listener)
            return
        self._next_number += 1
        self._sessions[self._next_number] = Session(
            self._next_number, connection, self._poller, self._on_session
        )

    def _on_session(self, session: Session, now: float) -> None:
        if session.closed:  # earlier in this turn
            return
        try:
            if session.stuck:
                session.flush()
            else:
                while self._handle(session, session.receive(), now):
                    pass
        except BlockingIOError:
            return
        except Gone:
            self._lose(session)
        except Refused as refused:
            self._lose(session, refused.code, str(refused))
        except ProtocolError as error:
            self._lose(session, RefusalCode.PROTOCOL, str(error))

    def _handle(self, session: Session, message: Message, now: float) -> bool:
        """Do what a message asks for; whether another is likely to have come already.

        To look costs less than a turn of its own for it. A client can keep the loop no longer than
        it has slots.
        """
        self._busy_at = now
        match message:
            case Submit():
                self._dispatcher.accept(session, message, now)
                return session.runs_ahead
            case Hello():
                shape = self._admission.greet(session, message)
                self._dispatcher.greeted()
                who = self._identity
                session.send(Welcome(shape.slots, shape.items, who.host_id, who.generation))
            case Offer():
                self._admission.map_arena(session, message)
            case StatsRequest():
                session.send(Stats(self._figures()))
            case _:
                raise ProtocolError(f"a client does not send {type(message).__name__}")
        return False

    def _lose(self, session: Session, code: RefusalCode | None = None, text: str = "") -> None:
        """End a session; its memory stays until the device is done with it."""
        if code is not None:
            attempt = session.hello.attempt if session.hello else "unknown"
            _LOG.warning("refuses client %d (%s): %s", session.number, attempt, text)
            session.refuse(code, text)
        session.close()
        self._dispatcher.drop(session)
        self._grant()

    def _forget(self, session: Session) -> None:
        del self._sessions[session.number]
        if session.arena is not None:
            self._admission.release(session.arena)
            session.arena = None  # the poller's last reactions still know the session

    def _grant(self) -> None:
        if self._loaded:
            open_sessions = [one for one in self._sessions.values() if not one.closed]
            changed = welcome_ready(
                open_sessions,
                max_batch=self._dispatcher.max_batch,
                lanes=self._backend.lanes,
                model=self._model,
            )
            now = time.monotonic()
            for session in changed:
                self._dispatcher.admit(session, now)

    def _read_mail(self, now: float) -> None:
        # Not in `run`: a letter holds an arena, which is not to outlive its session.
        for letter in self._mailbox.collect():
            match letter:
                case Outcome():
                    self._dispatcher.settle(letter, now)
                case ArenaMapped():
                    self._arena_mapped(letter)
                case Loaded():
                    self._model_loaded(letter.report)
                case LoadFailed():
                    self._load_failed(letter.error)
                case ThreadDied():
                    raise letter.error
                case _:
                    raise TypeError(f"unknown letter {letter!r}")

    def _model_loaded(self, report: LoadReport) -> None:
        self._dispatcher.learn(report)
        self._model = {
            "device": report.device,
            "weights_bytes": report.memory.weights,
            "load_seconds": round(report.load_seconds, 3),
            "warm_up_seconds": round(report.warm_up_seconds, 3),
        }
        self._loaded = True
        self._on_loaded(report)
        self._grant()

    def _load_failed(self, error: Exception) -> None:
        if isinstance(error, CarpoolError) and not error.retryable:
            for session in list(self._sessions.values()):
                session.refuse(RefusalCode.START_FAILED, f"{error.reason}: {error}")
        raise error

    def _arena_mapped(self, letter: ArenaMapped) -> None:
        session = self._sessions.get(letter.session)
        if session is None:  # it left meanwhile
            if letter.arena is not None:
                self._admission.release(letter.arena)
            return
        if letter.arena is None:
            protocol = isinstance(letter.error, ProtocolError)
            code = RefusalCode.PROTOCOL if protocol else RefusalCode.ARENA
            self._lose(session, code, f"the arena cannot be used: {letter.error}")
            return
        session.arena = letter.arena
        self._grant()

    def _tick(self, now: float) -> None:
        """Show waiting clients that the host lives, look whether the device does; accept again."""
        self._on_tick()
        self._dispatcher.check_device(now)
        if not self._loaded and now - self._begun_at > self._config.load_seconds:
            raise Hung(f"the model has been loading for {now - self._begun_at:.0f} s")
        if not self._loaded or self._dispatcher.busy:
            self._busy_at = now
        elif now - self._busy_at > self._idle_seconds:
            raise Idle(f"no request for {now - self._busy_at:.0f} s")
        for session in self._sessions.values():
            if session.waits:
                session.send(Alive())
        if self._listener not in self._poller:
            self._poller.watch(self._listener, self._accept)
        self._tick_at = now + self._tick_seconds

    def _figures(self) -> dict[str, Any]:
        return {
            "host_id": self._identity.host_id,
            "generation": self._identity.generation,
            "restarts": self._identity.generation - 1,
            "loaded": self._loaded,
            "clients": sum(session.hello is not None for session in self._sessions.values()),
            "credits": self._dispatcher.credits,
            "arena_bytes": sum(
                session.arena.layout.size
                for session in self._sessions.values()
                if session.arena is not None
            ),
            "model": self._model,
            **self._dispatcher.figures(),
        }
