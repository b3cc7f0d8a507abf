"""The settings."""

from __future__ import annotations

import json

import click

from qrec.cli import say
from qrec.cli.groups import Group
from qrec.cli.verbs import AS_JSON, completes, examples, wants_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@click.group(
    cls=Group, invoke_without_command=True, epilog=examples("qrec config set store filesystem\n  qrec config list")
)
@click.option("--database", metavar="sqlite|filesystem", help="Where records are kept; short for `set store`.")
@click.pass_context
def config(context: click.Context, database: str | None) -> None:
    """Read and write the settings."""
    if database is not None:
        set_setting("store", database)
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


def settings_of() -> Any:
    """The settings of the home that the options name; nothing else is opened, so that they can always be mended."""
    from qrec.config import Config, find_home

    return Config(find_home(click.get_current_context().find_root().params["home"]))


def set_setting(name: str, value: str) -> None:
    """Write one setting, if it makes sense."""
    settings = settings_of()
    if name == "store":
        from qrec.registry import Registry

        Registry(settings.home).store(settings.home, value)
    settings.set(name, value)


@config.command("get", epilog=examples("qrec config get store\n  qrec config get grace --json"))
@click.argument("name", shell_complete=completes("setting"))
@AS_JSON
def config_get(name: str, as_json: bool) -> None:
    """Print one setting's value in force."""
    value = settings_of().get(name)
    click.echo(json.dumps(value) if wants_json(as_json) else shown(value))


@config.command("set", epilog=examples("qrec config set grace 30s\n  qrec config set quiet true"))
@click.argument("name", shell_complete=completes("setting"))
@click.argument("value")
def config_set(name: str, value: str) -> None:
    """Write a setting into the config file."""
    set_setting(name, value)


@config.command("unset", epilog=examples("qrec config unset grace\n  qrec config unset shell.typed"))
@click.argument("name", shell_complete=completes("setting"))
def config_unset(name: str) -> None:
    """Take a setting out of the config file: its default holds again."""
    settings = settings_of()
    if not settings.unset(name):
        say(f"{name} is not set in {settings.path}")


@config.command("list", epilog=examples("qrec config list\n  qrec config list --json"))
@AS_JSON
def config_list(as_json: bool) -> None:
    """Print every setting, its value in force, and where that comes from."""
    from qrec.config import SETTINGS, unknown_words

    settings = settings_of()
    values = {setting.name: settings.get(setting.name) for setting in SETTINGS}
    if wants_json(as_json):
        click.echo(json.dumps(values, indent=2))
        return
    for setting in SETTINGS:
        value, source = shown(values[setting.name]), settings.source(setting.name)
        click.echo(f"{setting.name:<12}  {value:<12}  {source:<12}  {setting.help}")
    for complaint in unknown_words(settings.written):
        say(f"{complaint} (in {settings.path})")


@config.command("path", epilog=examples('qrec config path\n  $EDITOR "$(qrec config path)"'))
@AS_JSON
def config_path(as_json: bool) -> None:
    """Print where the config file is, or would be."""
    path = settings_of().path
    click.echo(json.dumps(path) if wants_json(as_json) else path)


def shown(value: Any) -> str:
    """A setting's value as it is written."""
    if isinstance(value, (list, tuple)):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}s" if isinstance(value, float) else str(value)
