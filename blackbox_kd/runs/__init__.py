"""What lies in `runs/<name>/`: tables, accounts, the data set, cards, the report."""
