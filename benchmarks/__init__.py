"""What the speed claims rest on: `python -m benchmarks [NAME ...]`. Run by hand; ratios within one run.

`python -m benchmarks.gpu --out FOLDER` is one of its own: training and answering on a GPU, in under ten minutes.
"""
