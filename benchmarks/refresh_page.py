"""Run the commands that stand in a page of the documentation, and put what they print beside them.

    python benchmarks/refresh_page.py docs/performance.md

A command is the first line of a block that is marked as `console`, after a dollar sign; the rest of the block is what
it printed. The page is written anew after every command, so what is done stays done. A command that fails ends the run,
and leaves its block as it was.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

BLOCK = re.compile(r"^```console\n\$ (?P<command>.*)\n(?P<printed>(?:(?!```).*\n)*)```$", re.MULTILINE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", default="", help="only commands that have this in them")
    args = parser.parse_args()
    for command in [block["command"] for block in BLOCK.finditer(args.page.read_text(encoding="utf-8"))]:
        if args.only in command:
            print(f"$ {command}", flush=True)
            refresh(args.page, command, run(command))


def run(command: str) -> str:
    """What a command prints, with this Python for `python`."""
    words = command.split()
    if words[0] == "python":
        words[0] = sys.executable
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"this command ended with exit code {done.returncode}")
    print(done.stdout, end="", flush=True)
    return done.stdout


def refresh(page: Path, command: str, printed: str) -> None:
    """Put what a command printed into its block."""

    def block(found: re.Match[str]) -> str:
        return f"```console\n$ {command}\n{printed}```" if found["command"] == command else found[0]

    page.write_text(BLOCK.sub(block, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
