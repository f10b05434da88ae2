"""What happens between a step that asks and a provider that sends: ledger, limits, money, retries."""
