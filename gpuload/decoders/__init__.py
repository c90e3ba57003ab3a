"""From encoded files to RGB pixels, as ``Image.open(f).convert("RGB")`` has them.

`files` are a batch's, as native code reads them: ordinary JPEGs, whose regions `jpeg` decodes inside the native
call. Whatever else there is, and whatever is odd about a JPEG, goes through `pillow`, sample by sample.
"""
