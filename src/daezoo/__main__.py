"""`python -m daezoo`."""

from daezoo.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
