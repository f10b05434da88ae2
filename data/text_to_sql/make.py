"""Make `library.sqlite` from `library.sql`: run it after a change of the text."""

import sqlite3
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Writes the database anew."""
    file = HERE / "library.sqlite"
    file.unlink(missing_ok=True)
    database = sqlite3.connect(file)
    database.executescript((HERE / "library.sql").read_text(encoding="utf-8"))
    database.execute("VACUUM")
    database.close()


if __name__ == "__main__":
    main()
