"""What a network cannot read by itself: images, texts and lists of numbers become arrays.

Training and serving both come here, so that the two agree.
"""
