"""``python -m dualadam`` is the command ``dualadam``."""

from dualadam.cli import main

if __name__ == "__main__":
    main()
