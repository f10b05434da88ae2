"""The commands, and what each of their errors ends in. Data goes to stdout, all else to stderr."""

import errno
import logging
import os
import sys
import traceback

import click

from blackbox_kd import __version__
from blackbox_kd.cli import compare, estimate, export, init, ledger, merge, run, show, try_step
from blackbox_kd.cli.output import say
from blackbox_kd.engine.descriptors import raise_limit
from blackbox_kd.errors import RAISE_LIMIT, BlackboxError, quote_cause, write_message
from blackbox_kd.printable import escape_text
from blackbox_kd.privacy import UMASK, switch_off_telemetry


class _Printable(logging.Formatter):
    """What libraries log may quote anybody."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_text(super().format(record))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="blackbox-kd")
@click.option("--debug", is_flag=True, help="Show full tracebacks.")
def app(debug: bool) -> None:
    """Distil a model you can only reach through an API into a small one you own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
    for noisy in ("asyncio", "urllib3", "filelock", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


for _command in (
    init.init,
    run.check,
    estimate.estimate,
    try_step.try_step,
    run.run,
    merge.merge,
    run.train,
    run.evaluate,
    export.export,
    show.show,
    show.report,
    compare.compare,
    ledger.ledger,
    show.steps,
    show.schema,
    show.path,
):
    app.add_command(_command)


def run_command() -> int:
    """Runs the command that the command line names; every error ends in a message and an exit status of `errors`."""
    debug = "--debug" in sys.argv
    os.umask(UMASK)  # also what commands write beside runs; processes started from here inherit it
    # Read by OpenMP when torch is loaded. Threads that spin while they wait make a model tens of times slower as
    # soon as another process wants the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    switch_off_telemetry()
    raise_limit()
    try:
        return int(app.main(standalone_mode=False) or 0)
    except click.exceptions.Abort:
        return _fail("stopped", 130)
    except click.ClickException as error:
        error.show()
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except BlackboxError as error:
        if debug:
            say(traceback.format_exc(), err=True)
        return _fail(str(error), error.exit_status)
    except Exception as error:
        if debug:
            say(traceback.format_exc(), err=True)
        return _fail(_describe(error), 1)


FIXES = {
    errno.EMFILE: RAISE_LIMIT,
    errno.ENFILE: "close other programs, or raise the system's limit, and run the same command: it goes on",
    errno.ENOSPC: "make room and run the same command: it goes on",
    errno.EDQUOT: "make room and run the same command: it goes on",
    errno.EACCES: "give yourself the right to it, or name another place (--run-dir, --ledger)",
    errno.EPERM: "give yourself the right to it, or name another place (--run-dir, --ledger)",
    errno.EROFS: "name another place (--run-dir, --ledger)",
    errno.ENAMETOOLONG: "give it a shorter name",
}
"""What is done about a machine that says no."""


def _describe(error: Exception) -> str:
    """What ended a command that nobody expected to end so: the machine that it runs on, or a mistake of ours."""
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        fix = FIXES.get(error.errno or 0, "mend it and run the same command: it goes on")
        return write_message(f"{place}{error.strerror or error}", fix=fix)
    if isinstance(error, ImportError):
        if "too many open files" in quote_cause(error).lower():
            return write_message(f"{error}", fix=RAISE_LIMIT)
        fix = "install it anew, in the environment of this command"
        return write_message(f"a package cannot be loaded: {error}", fix=fix)
    if isinstance(error, MemoryError):
        fix = "close other programs, or work on fewer rows at once (--limit, --shard)"
        return write_message("out of memory", fix=fix)
    return write_message(f"{type(error).__name__}: {error}", "this is a bug; --debug shows where it happened")


def _fail(message: str, status: int) -> int:
    say(f"error: {message}", err=True)
    return status
