"""Run the command line with ``python -m bundlewise``."""

from bundlewise.cli import main

if __name__ == "__main__":
    main()
