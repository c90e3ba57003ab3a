"""What is drawn for the samples of a batch, as arrays, and what it becomes for the kernels.

`draws` gives random numbers, `ops` says what can be done to an image, `recipes` holds what was drawn for each
sample, `fuse` makes one `record` a sample of it. Everything is for n samples; one sample is n = 1.
"""
