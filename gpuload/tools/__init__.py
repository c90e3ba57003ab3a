"""The command ``gpuload``, and what it is made of: they stand on the loader, and nothing stands on them."""
