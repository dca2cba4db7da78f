"""``python -m stack``: the command line."""

from stack.cli import main

if __name__ == "__main__":
    main()
