"""Print or install what completes commands and options in a shell."""

from __future__ import annotations

from collections.abc import Sequence

from typer import completion

from halluguard.errors import SettingsError

OPTIONS = ("--install-completion", "--show-completion")
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_NAME, _VARIABLE = "halluguard", "_HALLUGUARD_COMPLETE"


def complete_for_shell(option: str, words: Sequence[str]) -> None:
    """Print or install the completion of the command `halluguard`, also where it runs as `python -m halluguard`.

    Args:
        option: one of `OPTIONS`.
        words: the words after it: a shell, or nothing for the shell that runs the command.

    Raises:
        SettingsError: the shell is none of `SHELLS`, or cannot be found out.
    """
    shell = words[0] if words else completion._get_shell_name()
    if shell not in SHELLS or len(words) > 1:
        got = " ".join(words) if words else f"{shell or 'no shell'} from the process that runs this command"
        raise SettingsError(f"expected one of the shells {', '.join(SHELLS)}, got {got}; write {option} bash")
    if option == "--show-completion":
        print(completion.get_completion_script(prog_name=_NAME, complete_var=_VARIABLE, shell=shell))
        return
    shell, file = completion.install(shell=shell, prog_name=_NAME, complete_var=_VARIABLE)
    print(f"{shell} completion installed in {file}; it works in shells that are opened from now on")
