"""The ways to a batch: render images, gather rows of tensors, or leave any other dataset to torch's workers.

Each path makes the batches of an epoch, and says for explain what it does. None knows the loader.
"""
