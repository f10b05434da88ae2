"""The report of a run: `report.json` for programs, `report.md` in words."""
