"""Wires the controller: the only file that knows every part."""

import fcntl
import gc
import os
import signal
import socket
import sys
import threading
from importlib.metadata import entry_points
from typing import ClassVar

from pydantic import Field as Setting

from unryu import logs, tls
from unryu.config import Settings, state_dir
from unryu.db import Database
from unryu.logs import log
from unryu.tls import authority


class ControllerSettings(Settings):
    section: ClassVar[str] = "controller"
    openflow: str = Setting("127.0.0.1:6653", description="address:port that switches connect to")
    listen: str = Setting("127.0.0.1:6680", description="address:port of the agents' door and of live questions")
    name: str = Setting("", description="of this controller, unique among those that share a database; empty: the machine's")
    door: str = Setting("", description="address:port at which other controllers reach `listen`; empty: the same, and of a "
                      "listener on all addresses the machine's name")
    look_again: float = Setting(600, gt=0, description="seconds in which every switch is read back once, and every agent told "
                                "its whole book")
    keep_cookies: list[str] = Setting([], description="flows with these cookies are yours: never touched, such as "
                                      "0xad00000000000000/0xff00000000000000")


def serve() -> None:
    gc.disable()  # until all is loaded (Loop.load): most of what is made until then stays
    logs.setup("controller")
    threading.excepthook = _end
    from controller.derive import catalogue
    from controller.dialling import call
    from controller.drift import kept_cookies
    from controller.hosts import Door
    from controller.leases import LIFE, Lease
    from controller.loop import Loop
    from controller.openflow.app import Switches
    from controller.overview import switches as switches_of

    load_features()
    settings = ControllerSettings.read()
    try:
        keep = kept_cookies(settings.keep_cookies, catalogue)
    except ValueError as error:
        log.error("the controller cannot start", error=str(error))
        sys.exit(2)
    folder = authority.home()
    authority.make(folder, tls.CONTROLLER)
    identity = authority.own(folder, tls.CONTROLLER)
    threading.Thread(target=authority.keep_fresh, daemon=True, name="certificate",
                     args=(folder, authority.SERVICES, folder / "controller.pem", tls.CONTROLLER)).start()
    database = Database()
    alone = _alone() if database.sqlite else None
    # Renewals wait in no queue behind others for a connection, and must not keep a lock when we are frozen.
    renewals = None if database.sqlite else Database(idle=LIFE / 2)
    lease = Lease(renewals, settings.name or socket.gethostname(), _reached(settings)) if renewals else None
    loop = Loop(database, catalogue.values(), identity, settings.look_again, keep, lease)
    # Before all is loaded: a switch that is refused waits twice as long each time before it comes again.
    switches = Switches([address(settings.openflow)], loop.known, loop.up, loop.down, identity=identity)
    switches.start()
    call(database, identity, address(settings.openflow)[1])
    loop.load()
    switches.ask_again()
    door = Door(address(settings.listen), identity, database, lambda: switches_of(loop), lambda: loop.ready, loop.confirmed,
                folder, address(settings.openflow)[1])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    runner = threading.Thread(target=loop.run, name="loop")
    runner.start()
    door.start()
    log.info("controller ready", openflow=settings.openflow, listen=settings.listen, revision=loop.picture.revision,
             **loop.took)
    while runner.is_alive():  # a signal that came just before an endless wait would be heard when that ends: never
        runner.join(1.0)
    door.stop()
    switches.stop()
    database.close()
    if renewals is not None:
        renewals.close()
    if alone is not None:
        os.close(alone)
    log.info("controller stopped")


def load_features() -> None:
    """Our features and those of other packages."""
    import controller.features  # noqa: F401 - its import is its declaration

    for point in entry_points(group="unryu.features"):
        point.load()


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _reached(settings: ControllerSettings) -> str:
    host, port = address(settings.listen)
    everywhere = host in ("", "0.0.0.0", "::")
    return settings.door or (f"{socket.gethostname()}:{port}" if everywhere else settings.listen)


def _end(failure: threading.ExceptHookArgs) -> None:
    """A thread of ours has a fault we did not foresee, or our name is another's: better a new process than part of one. Flows
    stay, and the hosts are others' before long."""
    log.critical("the controller ends: a part of it has failed", part=failure.thread.name if failure.thread else "",
                 error=repr(failure.exc_value), exc_info=failure.exc_value)
    os._exit(1)


def _alone() -> int:
    """On SQLite there is one controller: a second one waits here until the first is gone."""
    handle = os.open(state_dir() / "controller.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
