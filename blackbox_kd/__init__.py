"""blackbox-kd: distil a model you can only reach through an API into a small one you own."""

__version__ = "0.1.0"
