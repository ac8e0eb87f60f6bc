"""What `serving.py` measures: contenders, their requests, and the load on them."""
