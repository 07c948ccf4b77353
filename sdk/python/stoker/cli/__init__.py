"""The command line: `stoker`."""


def main() -> None:
    """Runs the command that the process was started with."""
    from stoker.cli.app import app

    app(prog_name="stoker")
