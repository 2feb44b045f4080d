"""The command line: each command is a module, which is imported only when the command is called."""

import importlib
import sys
import traceback
from typing import Any

import click

from bundlewise import __version__
from bundlewise.commands.arguments import check_numbers
from bundlewise.commands.options import prompts_option
from bundlewise.configuration import PREFIX, Configuration, configured
from bundlewise.errors import BundlewiseError, describe
from bundlewise.masking import without_key
from bundlewise.signals import Stopped, signals_stop
from bundlewise.terminal import PrintableStream, one_line, printable_streams

COMMANDS = {
    "demo": "Run the whole chain on a starter domain and write a report.",
    "data": "Validate, show, convert, list and fetch sessions.",
    "models": "List, fetch, publish and push models, and print their folders.",
    "config": "Show the settings in force, and where each came from.",
    "doctor": "Check this machine, and print a remedy for each fault.",
    "distil": "Distil knowledge from training sessions into a knowledge base.",
    "ledger": "Show paid calls, and move them to another machine.",
    "kb": "Inspect, maintain, exchange and re-embed a knowledge base.",
    "finetune": "Tune the student with LoRA on training sessions.",
    "generate": "Find and name the bundles of sessions.",
    "chat": "Talk to the bundle assistant about a cart and a catalogue.",
    "serve": "Serve the student over HTTP; OpenAI clients work too.",
    "mcp": "Serve the student as tools over MCP.",
    "baselines": "Write predictions without a language model, for comparison.",
    "evaluate": "Score predictions against the annotated bundles.",
    "experiment": "Run a grid of settings, compare the students, and write a report.",
    "prompts": "Show, change, test, compare and improve the prompt templates.",
}


PROMPTED = ("demo", "distil", "finetune", "generate")
"""Commands that accept --prompts after their name; every command accepts it before its name."""


DASHES = " Put a text that begins with - after all options and after --."


class PipeError(BundlewiseError):
    """A pipe other than stdout whose reader has closed it."""


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which users need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and return it; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bundlewise.commands.{cmd_name}")
        command: click.Command = module.command
        if cmd_name in PROMPTED:
            prompts_option(command)
        check_numbers(command)
        if isinstance(ctx.obj, Configuration):
            ctx.default_map = {**(ctx.default_map or {}), cmd_name: ctx.obj.defaults(cmd_name, command)}
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and report a closed pipe other than stdout: click ends silently at every closed pipe."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if isinstance(sys.stdout, PrintableStream) and sys.stdout.has_failed(error):
                raise
            place = error.filename or "a pipe that was written to"
            raise PipeError(f"{place} was closed by its reader; use a reader that reads to the end") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bundlewise")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@prompts_option
def root(debug: bool) -> None:
    """Find product bundles in shoppers' sessions with a small model that a large one has taught."""


def main(args: list[str] | None = None) -> None:
    """Run the command line; exit with 0, 1 (failure), 2 (usage), 130 (Ctrl-C), 143 (SIGTERM) or 129 (SIGHUP)."""
    given = sys.argv[1:] if args is None else args
    with printable_streams(), signals_stop() as stopped:
        sys.exit(_run([argument for argument in given if argument != "--debug"], "--debug" in given, stopped))


def _run(arguments: list[str], debug: bool, stopped: Stopped) -> int:
    """Run the command line and return its exit code; each error becomes a message for the user."""
    try:
        with configured() as configuration:
            settings: dict[str, Any] = {"obj": configuration, "auto_envvar_prefix": PREFIX}
            code = root.main(arguments, prog_name="bundlewise", standalone_mode=False, **settings)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        return 1
    except (click.Abort, KeyboardInterrupt):
        return fail("stopped; the same command goes on where it stopped", code=stopped.code)
    except click.NoSuchOption as error:
        said = f"{error.message}{DASHES}"
        return _usage(click.NoSuchOption(error.option_name, said, error.possibilities, error.ctx), debug)
    except click.ClickException as error:
        return _usage(error, debug)
    except Exception as error:  # The outermost handler.
        trace(debug)
        if isinstance(error, BundlewiseError):
            return fail(*error.lines, code=error.exit_code)
        return fail(describe(error), code=1)


def _usage(error: click.ClickException, debug: bool) -> int:
    trace(debug)
    error.show()
    return error.exit_code


def trace(debug: bool) -> None:
    """Print the traceback of the current error if the user asked for it."""
    if debug:
        click.echo(without_key(traceback.format_exc()), err=True, nl=False)


def fail(*lines: str, code: int) -> int:
    """Print the lines of a message on stderr and return the exit code; line feeds within a line are escaped."""
    told = [one_line(without_key(line)) for line in lines] or [""]
    click.echo("\n".join([f"bundlewise: {told[0]}", *told[1:]]), err=True)
    return code
