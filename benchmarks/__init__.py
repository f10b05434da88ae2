"""What the speed claims rest on: `python -m benchmarks [NAME ...]`. Run by hand; ratios within one run."""
